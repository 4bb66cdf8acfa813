"""`dltrain transcribe`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.delimited import format_row
from dltrain.cli.shared.options import (
    CheckpointName,
    DeviceName,
    RunPath,
    check_output,
    list_files,
    load_model,
    print_remark,
)
from dltrain.cli.shared.speech import LanguageModelFile, LanguageModelWeight, WordBonus
from dltrain.data.wording import join_some
from dltrain.errors import DataError, OutOfMemory, UsageError
from dltrain.escaping import open_console
from dltrain.runs.clip_scoring import Decoding, check_decoding
from dltrain.runs.recognisers import check_recogniser, check_speakers

if TYPE_CHECKING:
    from dltrain.data.speech.transcription import Recording, Transcriber
    from dltrain.runs.loading import Trained

SoundFiles = Annotated[
    list[str], typer.Argument(help="Files of sound or videos, folders, or - for names on standard input.")
]
BeamWidth = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="WIDTH", help="Beam search with so many hypotheses (arXiv:1408.2873). [default: greedy]"
    ),
]
SameSpeaker = Annotated[
    bool, typer.Option("--same-speaker", help="All files are from one speaker; improves short clips.")
]
Timestamps = Annotated[bool, typer.Option("--timestamps", help="Print the time of each word.")]
OutputFile = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this file, once all is done.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Pieces of up to 29 seconds in a batch.")]


def transcribe(
    run: RunPath,
    files: SoundFiles,
    beam: BeamWidth = None,
    lm: LanguageModelFile = None,
    lm_weight: LanguageModelWeight = None,
    word_bonus: WordBonus = None,
    same_speaker: SameSpeaker = False,
    timestamps: Timestamps = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file, one per line.")] = False,
    srt: Annotated[bool, typer.Option("--srt", help="SubRip captions, of one file.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="WebVTT captions, of one file.")] = False,
    output: OutputFile = None,
    batch_size: BatchSize = 8,
    checkpoint: CheckpointName = None,
    device: DeviceName = None,
) -> None:
    """Transcribe speech.

    Prints a line for each sound file: its name and the text, tab-separated. Files may be WAV, FLAC, OGG or MP3, and
    with the extra `media` M4A, MP4, WebM, Matroska, 3GP and AAC too, of any length, sample rate and number of channels:
    long ones are read piece by piece and cut at silences. Channels are averaged, unless they cancel each other: then
    the loudest one is used. With --timestamps there is a line for each word: the file, the seconds at which the word
    begins and ends, and the word.

    A model trained with data.normalize: speaker normalises the sound over all speech of a speaker: over a whole file,
    or with --same-speaker over all files, which are then read twice. Without it, short clips have more errors.

    Unreadable files are reported on stderr, the rest are processed, and the exit code is 3.

    Examples:

      dltrain transcribe runs/common_voice interview.mp3

      dltrain transcribe runs/common_voice talk.wav --beam 32 --lm words.arpa --srt -o talk.srt

      find clips -name '*.flac' | dltrain transcribe runs/common_voice - --json
    """
    form = choose_form({"--json": as_json, "--srt": srt, "--vtt": vtt}, timestamps)
    check_output(output)
    decoding = Decoding(beam=beam, lm=lm, lm_weight=lm_weight, word_bonus=word_bonus)
    check_decoding(decoding, dashes=True)
    trained = load_recogniser(run, checkpoint, device)
    paths = list_sound_files(files, form)
    check_speakers(trained.record.assets["normalization"]["over"], same_speaker)
    suggest_options(run, trained.record.assets["normalization"]["over"], paths, same_speaker=same_speaker, lm=lm)
    task: Any = trained.task
    from dltrain.data.speech.transcription import Transcriber

    transcriber = Transcriber(
        task=task,
        model=trained.model,
        runtime=trained.runtime,
        assets=trained.record.assets,
        decoder=decoding.decoder(task.alphabet, print_remark),
        batch_size=batch_size,
    )
    separator = " " if " " in task.alphabet else ""
    format_one = partial(format_recording, form=form, separator=separator, timestamps=timestamps)
    write_transcripts(transcriber, paths, same_speaker=same_speaker, format_one=format_one, output=output)


def load_recogniser(run: Path, checkpoint: str | None, device: str | None) -> Trained:
    """Load a run's model. Raises UsageError if it does not transcribe."""
    from dltrain.data.speech.sound import import_soundfile

    import_soundfile()
    return check_recogniser(run, load_model(run, checkpoint, device))


def list_sound_files(files: Sequence[str], form: str | None) -> list[Path]:
    """List the files to transcribe. Raises DataError for none, UsageError for several with an option of captions."""
    from dltrain.data.speech.recordings import is_sound_file

    paths = list_files(files, is_sound_file, "sound", "sound files")
    if form in ("--srt", "--vtt") and len(paths) > 1:
        raise UsageError(f"{form}: {len(paths)} files given; allowed is one, since captions are of one recording")
    return paths


def write_transcripts(
    transcriber: Transcriber,
    paths: Sequence[Path],
    *,
    same_speaker: bool,
    format_one: Callable[[Recording], str],
    output: Path | None,
) -> None:
    """Transcribe files and print each one's transcript, or write all to `output`. Raises DataError for bad files."""
    from dltrain.data.progress import Progress
    from dltrain.files import write_atomically
    from dltrain.runtime.memory import explain_memory_errors

    speaker = None
    if same_speaker:
        with Progress("measuring the speaker", len(set(paths))) as measuring:
            speaker = transcriber.measure_speaker(paths, measuring.advance)
    written: list[str] = []
    read: list[Recording] = []
    unreadable = 0
    progress = TranscriptionProgress(len(paths))
    try:
        with explain_memory_errors():
            for recording in transcriber.transcribe_files(paths, progress.advance, speaker):
                if recording.fault is not None:
                    unreadable += 1
                    progress.print_result(f"error: {recording.fault}\n", err=True)
                    continue
                read.append(replace(recording, words=[]))
                if output is None:
                    progress.print_result(format_one(recording))
                else:
                    written.append(format_one(recording))
    except OutOfMemory as error:
        advice = f"lower --batch-size {transcriber.batch_size}"
        raise OutOfMemory(str(error).splitlines()[0], advice=advice) from error
    finally:
        progress.close()
    for note in describe_recordings(read, int(transcriber.assets["sample_rate_hz"])):
        typer.echo(f"note: {note}", err=True)
    if output is not None and unreadable < len(paths):
        write_atomically(output, "".join(written).encode(errors="surrogateescape"))
    if unreadable:
        raise DataError(f"{unreadable} of {len(paths)} files could not be transcribed; the others are done")


def choose_form(forms: Mapping[str, bool], timestamps: bool) -> str | None:
    """The option that chooses a form of output, if any. Raises UsageError for options that do not go together."""
    asked = [option for option, given in forms.items() if given]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together", advice="leave one of them out")
    if timestamps and asked and asked != ["--json"]:
        raise UsageError(f"--timestamps does not go with {asked[0]}, which has times anyway", advice="leave it out")
    return asked[0] if asked else None


def suggest_options(run: Path, over: str, paths: Sequence[Path], *, same_speaker: bool, lm: str | None) -> None:
    """Note where --same-speaker, or a language model in the run's directory, may make fewer errors."""
    if len(paths) > 1 and not same_speaker and over == "speaker":
        folders = {path.parent for path in paths}
        where = f" ({len(paths)} files of {folders.pop()})" if len(folders) == 1 else ""
        note = f"each file counts as another speaker's; if one person speaks{where}, add --same-speaker"
        typer.echo(f"note: {note}", err=True)
    found = sorted({*run.glob("*.arpa"), *run.glob("*.arpa.gz")})
    if lm is None and found:
        note = f"this run has a language model; if the words are those of its training, add --lm {found[0]}"
        typer.echo(f"note: {note}", err=True)


def describe_recordings(recordings: Sequence[Recording], sample_rate_hz: int) -> Iterator[str]:
    """Describe what may be wrong with the sound of some files, a sentence each; `sample_rate_hz` is the model's."""
    low = {recording.sample_rate_hz for recording in recordings} & set(range(1, sample_rate_hz))
    for what, chosen in (
        (
            "have channels in opposite phase, of which the loudest one is used",
            [one for one in recordings if one.opposed],
        ),
        ("are silent: they have no words", [one for one in recordings if one.silent]),
        (
            f"have a lower sample rate ({join_some([f'{rate} Hz' for rate in sorted(low)], 3)}) than the model's "
            f"{sample_rate_hz} Hz: there is nothing in their upper bands",
            [one for one in recordings if one.sample_rate_hz in low],
        ),
    ):
        if chosen:
            some = join_some([str(one.path) for one in chosen], 3)
            yield f"{len(chosen)} of {len(recordings)} files {what} ({some})"


def format_recording(recording: Recording, form: str | None, separator: str, timestamps: bool) -> str:
    """Format a recording's words for output, line ends included."""
    from dltrain.data.speech.captions import format_srt, format_vtt, make_captions

    if form == "--json":
        seconds, text = round(recording.seconds, 3), recording.text(separator)
        fields: dict[str, Any] = {"file": str(recording.path), "seconds": seconds, "text": text}
        if timestamps:
            fields["words"] = []
            for word in recording.words:
                times = {"start": round(word.start, 3), "end": round(word.end, 3)}
                fields["words"].append({"word": word.text, **times, "confidence": round(word.confidence, 4)})
        return json.dumps(fields) + "\n"
    if form is not None:
        format_captions = format_srt if form == "--srt" else format_vtt
        return format_captions(make_captions(recording.words, separator))
    if timestamps:
        words = recording.words
        rows = [(recording.path, f"{word.start:.2f}", f"{word.end:.2f}", word.text) for word in words]
        return "".join(f"{format_row(row)}\n" for row in rows)
    return f"{format_row((recording.path, recording.text(separator)))}\n"


class TranscriptionProgress:
    """Prints results, and on a terminal, below them, the progress."""

    def __init__(self, files: int) -> None:
        self._files = files
        self._done, self._seconds = 0, 0.0
        self._bar: Any = None
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.progress import Progress, SpinnerColumn, TextColumn

            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                console=open_console(sys.stderr),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.add_task("reading")
            self._bar.start()

    def advance(self, seconds: float) -> None:
        """Add `seconds` of transcribed sound."""
        self._seconds += seconds
        self._show()

    def print_result(self, text: str, err: bool = False) -> None:
        """Print the result of one file, above the progress bar."""
        self._done += 1
        self.close()
        typer.echo(text, nl=False, err=err)
        if self._bar is not None:
            self._bar.start()
        self._show()

    def close(self) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):  # the terminal is gone
                self._bar.stop()

    def _show(self) -> None:
        if self._bar is not None:
            description = f"{self._done} of {self._files} files, {self._seconds / 60:.1f} minutes of sound"
            with suppress(OSError, ValueError):
                self._bar.update(self._bar.task_ids[0], description=description)
                self._bar.refresh()
