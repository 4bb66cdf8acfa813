"""`dltrain transcribe`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.decoding import Decoding, LanguageModelFile, LanguageModelWeight, WordBonus, check_decoding
from dltrain.cli.shared.output import check_output
from dltrain.errors import DataError, OutOfMemory, UsageError

if TYPE_CHECKING:
    from dltrain.data.speech.transcription import Recording, Speaker, Transcriber
    from dltrain.runs.loading import Trained

SoundFiles = Annotated[
    list[str], typer.Argument(help="WAV, FLAC, OGG or MP3 files, folders, or - for names on standard input.")
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
    run: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")],
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
    checkpoint: Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")] = None,
    device: Annotated[str | None, typer.Option(help="Device to run on. [default: the one used in training]")] = None,
) -> None:
    """Transcribe speech.

    Prints a line for each sound file: its name and the text, tab-separated. Files may be of any length, sample rate and
    number of channels: long ones are read piece by piece and cut at silences. With --timestamps there is a line for
    each word: the file, the seconds at which the word begins and ends, and the word.

    A model trained with data.normalize: speaker normalises the sound over all speech of a speaker: over a whole file,
    or with --same-speaker over all files, which are then read twice. Without it, short clips have more errors.

    Unreadable files are reported on stderr, the rest are processed, and the exit code is 3.

    Examples:

      dltrain transcribe runs/common_voice interview.mp3

      dltrain transcribe runs/common_voice talk.wav --beam 32 --lm words.arpa --srt -o talk.srt

      find clips -name '*.flac' | dltrain transcribe runs/common_voice - --json
    """
    forms = {"--json": as_json, "--srt": srt, "--vtt": vtt}
    check_forms(forms, timestamps, output)
    decoding = check_decoding(Decoding(beam=beam, lm=lm, lm_weight=lm_weight, word_bonus=word_bonus), dashes=True)
    trained = load_recogniser(run, checkpoint, device)
    over = trained.record.assets["normalization"]["over"]
    if same_speaker:
        check_speakers(over)
    paths = list_sound_files(files, captions=next((form for form in ("--srt", "--vtt") if forms[form]), None))
    if len(paths) > 1 and not same_speaker and over == "speaker":
        typer.echo("note: each file counts as another speaker's; if one person speaks, add --same-speaker", err=True)
    task: Any = trained.task
    transcriber = build_transcriber(trained, decoding, batch_size)
    form = choose_format(forms, " " if " " in task.alphabet else "", timestamps)
    speaker = measure_speaker(transcriber, paths) if same_speaker else None
    write_transcripts(transcriber, paths, speaker=speaker, form=form, output=output)


def load_recogniser(run: Path, checkpoint: str | None, device: str | None) -> Trained:
    """Load a run's model; prints its notice. Raises UsageError if it does not transcribe."""
    from dltrain.data.speech.recognition import Transcribes
    from dltrain.data.speech.sound import import_soundfile
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    import_soundfile()
    trained = load_trained(find_checkpoint(run, checkpoint), {"trainer": {"device": device}} if device else {})
    if not isinstance(trained.task, Transcribes):
        raise UsageError(f"{run}: the task '{trained.experiment.task.name}' does not transcribe sound")
    if trained.record.notice:
        typer.echo(f"warning: {trained.record.notice}", err=True)
    return trained


def list_sound_files(files: Sequence[str], captions: str | None) -> list[Path]:
    """List the files to transcribe. Raises DataError for none, UsageError for several with an option of captions."""
    from dltrain.data.input_files import list_input_files
    from dltrain.data.speech.recordings import SUFFIXES

    paths = list_input_files(files, iter(sys.stdin or ()), SUFFIXES, "sound")
    if not paths:
        raise DataError("no sound files given, on the command line or on standard input")
    if captions and len(paths) > 1:
        raise UsageError(f"{captions}: {len(paths)} files given; allowed is one, since captions are of one recording")
    return paths


def build_transcriber(trained: Trained, decoding: Decoding, batch_size: int) -> Transcriber:
    from dltrain.data.speech.transcription import Transcriber

    task: Any = trained.task
    return Transcriber(
        task=task,
        model=trained.model,
        runtime=trained.runtime,
        assets=trained.record.assets,
        decoder=decoding.decoder(task.alphabet),
        batch_size=batch_size,
    )


def measure_speaker(transcriber: Transcriber, paths: Sequence[Path]) -> Speaker:
    """Compute the statistics of the speaker of all files, with a progress bar."""
    from dltrain.data.progress import Progress

    with Progress("measuring the speaker", len(set(paths))) as progress:
        return transcriber.measure_speaker(paths, progress.advance)


def write_transcripts(
    transcriber: Transcriber,
    paths: Sequence[Path],
    speaker: Speaker | None,
    form: Callable[[Recording], str],
    output: Path | None,
) -> None:
    """Transcribe files and print each one's transcript, or write all to `output`. Raises DataError for bad files."""
    from dltrain.files import write_atomically
    from dltrain.runtime.memory import explain_memory_errors

    written: list[str] = []
    unreadable = 0
    progress = TranscriptionProgress(len(paths))
    try:
        with explain_memory_errors():
            for recording in transcriber.transcribe_files(paths, progress.advance, speaker):
                if recording.fault is not None:
                    unreadable += 1
                    progress.print_result(f"error: {recording.fault}\n", err=True)
                elif output is None:
                    progress.print_result(form(recording))
                else:
                    written.append(form(recording))
    except OutOfMemory as error:
        advice = f"lower --batch-size {transcriber.batch_size}"
        raise OutOfMemory(f"{str(error).splitlines()[0]}", advice=advice) from error
    finally:
        progress.close()
    if output is not None and unreadable < len(paths):
        write_atomically(output, "".join(written).encode(errors="surrogateescape"))
    if unreadable:
        raise DataError(f"{unreadable} of {len(paths)} files could not be transcribed; the others are done")


def check_forms(forms: Mapping[str, bool], timestamps: bool, output: Path | None) -> None:
    """Raise UsageError for options that do not go together, and for an output file that cannot be written."""
    asked = [option for option, given in forms.items() if given]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together", advice="leave one of them out")
    if timestamps and asked and asked != ["--json"]:
        raise UsageError(f"--timestamps does not go with {asked[0]}, which has times anyway", advice="leave it out")
    if output is not None:
        check_output(output)


def check_speakers(over: str) -> None:
    """Raise UsageError for a model whose features are not normalised over a speaker."""
    if over != "speaker":
        raise UsageError(
            f"--same-speaker: the features of this model are normalised over the {over}, whoever speaks; it goes with "
            "models trained with data.normalize: speaker",
            advice="leave it out",
        )


def choose_format(forms: Mapping[str, bool], separator: str, timestamps: bool) -> Callable[[Recording], str]:
    """Choose the function that formats a recording's words for output, line ends included."""
    from dltrain.data.speech.captions import format_srt, format_vtt, make_captions

    if forms["--srt"]:
        return lambda recording: format_srt(make_captions(recording.words, separator))
    if forms["--vtt"]:
        return lambda recording: format_vtt(make_captions(recording.words, separator))
    if forms["--json"]:
        return lambda recording: format_json(recording, separator, timestamps)
    if timestamps:
        return lambda recording: "".join(
            f"{recording.path}\t{word.start:.2f}\t{word.end:.2f}\t{word.text}\n" for word in recording.words
        )
    return lambda recording: f"{recording.path}\t{recording.text(separator)}\n"


def format_json(recording: Recording, separator: str, timestamps: bool) -> str:
    fields: dict[str, Any] = {
        "file": str(recording.path),
        "seconds": round(recording.seconds, 3),
        "text": recording.text(separator),
    }
    if timestamps:
        fields["words"] = [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in recording.words
        ]
    return json.dumps(fields) + "\n"


class TranscriptionProgress:
    """Prints results, and on a terminal, below them, the progress."""

    def __init__(self, files: int) -> None:
        self._files = files
        self._done, self._seconds = 0, 0.0
        self._bar: Any = None
        if sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn

            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                console=Console(file=sys.stderr),
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
