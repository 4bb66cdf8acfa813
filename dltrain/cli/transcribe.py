"""`dltrain transcribe`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.cli.shared.decoding import Decoding, LanguageModelFile, LanguageModelWeight, WordBonus, check_decoding
from dltrain.cli.shared.output import check_output
from dltrain.errors import DataError, OutOfMemory, UsageError

if TYPE_CHECKING:
    from dltrain.data.speech.transcription import Recording


def transcribe(
    run: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")],
    files: Annotated[
        list[str], typer.Argument(help="WAV, FLAC, OGG or MP3 files, folders, or - for names on standard input.")
    ],
    beam: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="WIDTH", help="Search so many texts at a time (arXiv:1408.2873). [default: greedy]"
        ),
    ] = None,
    lm: LanguageModelFile = None,
    lm_weight: LanguageModelWeight = None,
    word_bonus: WordBonus = None,
    same_speaker: Annotated[
        bool,
        typer.Option("--same-speaker", help="One person speaks in all the files: short clips of one voice want it."),
    ] = False,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Say when each word is said.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each file.")] = False,
    srt: Annotated[bool, typer.Option("--srt", help="SubRip captions, of one file.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="WebVTT captions, of one file.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there, once all is done.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pieces of up to 29 seconds that go together.")] = 8,
    checkpoint: Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")] = None,
    device: Annotated[str | None, typer.Option(help="The device, if not the training's.")] = None,
) -> None:
    """Transcribe speech.

    Prints a line for each sound file: its name and the text, tab-separated. Files may be of any length, sample rate and
    number of channels: long ones are read piece by piece and cut where nobody speaks. With --timestamps there is a line
    for each word: the file, seconds at which the word begins and ends, and the word.

    A model trained with data.normalize: speaker hears each voice against all that the same voice says: a whole file,
    or with --same-speaker all files, which are read through first. Without it, short clips are understood worse.

    A file that cannot be read is named on stderr, the others are done, and the exit code is 3.

    Examples:

      dltrain transcribe runs/common_voice interview.mp3

      dltrain transcribe runs/common_voice talk.wav --beam 32 --lm words.arpa --srt -o talk.srt

      find clips -name '*.flac' | dltrain transcribe runs/common_voice - --json
    """
    forms = {"--json": as_json, "--srt": srt, "--vtt": vtt}
    check_forms(forms, timestamps, output)
    chosen = check_decoding(Decoding(beam=beam, lm=lm, lm_weight=lm_weight, word_bonus=word_bonus), dashes=True)
    from dltrain.data.input_files import list_input_files
    from dltrain.data.progress import Progress
    from dltrain.data.speech.recognition import Transcribes
    from dltrain.data.speech.recordings import SUFFIXES
    from dltrain.data.speech.sound import import_soundfile
    from dltrain.data.speech.transcription import Transcriber
    from dltrain.decoding.ctc import SPACE
    from dltrain.files import write_atomically
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained
    from dltrain.runtime.memory import explain_memory_errors

    import_soundfile()
    trained = load_trained(find_checkpoint(run, checkpoint), {"trainer": {"device": device}} if device else {})
    if not isinstance(trained.task, Transcribes):
        raise UsageError(f"{run}: the task '{trained.experiment.task.name}' does not transcribe sound")
    if trained.record.notice:
        typer.echo(f"warning: {trained.record.notice}", err=True)
    task, assets = trained.task, trained.record.assets
    if same_speaker:
        check_speakers(assets["normalization"]["over"])
    paths = list_input_files(files, iter(sys.stdin or ()), SUFFIXES, "sound")
    if not paths:
        raise DataError("no sound file was named, neither on the command line nor on standard input")
    if (srt or vtt) and len(paths) > 1:
        option = "--srt" if srt else "--vtt"
        raise UsageError(
            f"{option}: {len(paths)} files were named; allowed is one, since captions are of one recording"
        )
    if len(paths) > 1 and not same_speaker and assets["normalization"]["over"] == "speaker":
        typer.echo("note: each file is taken for another speaker's; if one person speaks, add --same-speaker", err=True)
    form = choose_format(forms, " " if SPACE in task.alphabet else "", timestamps)
    decoder = chosen.decoder(task.alphabet)
    transcriber = Transcriber(task, trained.model, trained.runtime, assets, decoder, batch_size)
    voice = None
    if same_speaker:
        with Progress("hearing the voice", len(set(paths))) as progress:
            voice = transcriber.measure_speaker(paths, progress.advance)
    written: list[str] = []
    unreadable = 0
    watch = TranscriptionProgress(len(paths))
    try:
        with explain_memory_errors():
            for recording in transcriber.transcribe_files(paths, watch.heard, voice):
                if recording.fault is not None:
                    unreadable += 1
                    watch.say(f"error: {recording.fault}\n", err=True)
                    continue
                text = form(recording)
                if output is None:
                    watch.say(text)
                else:
                    written.append(text)
    except OutOfMemory as error:
        raise OutOfMemory(f"{str(error).splitlines()[0]}", advice=f"lower --batch-size {batch_size}") from error
    finally:
        watch.close()
    if output is not None and unreadable < len(paths):
        write_atomically(output, "".join(written).encode(errors="surrogateescape"))
    if unreadable:
        raise DataError(f"{unreadable} of {len(paths)} files could not be transcribed; the others are done")


def check_forms(forms: Mapping[str, bool], timestamps: bool, output: Path | None) -> None:
    """Raises UsageError for options that do not go together, and for a place that cannot be written to."""
    asked = [option for option, given in forms.items() if given]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together", advice="leave one of them out")
    if timestamps and asked and asked != ["--json"]:
        raise UsageError(f"--timestamps does not go with {asked[0]}, which has times anyway", advice="leave it out")
    if output is not None:
        check_output(output)


def check_speakers(over: str) -> None:
    """Raises UsageError for a model whose features are normalised over something else than a speaker."""
    if over != "speaker":
        raise UsageError(
            f"--same-speaker: the features of this model are normalised over the {over}, whoever speaks; it goes with "
            "models trained with data.normalize: speaker",
            advice="leave it out",
        )


def choose_format(forms: Mapping[str, bool], separator: str, timestamps: bool) -> Callable[[Recording], str]:
    """The function that gives a recording's words as they are to be written, new lines included."""
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
    """Prints what is found, and on a terminal, below it, how far the work is."""

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

    def heard(self, seconds: float) -> None:
        """So much more sound has been transcribed."""
        self._seconds += seconds
        self._show()

    def say(self, text: str, err: bool = False) -> None:
        """Print the outcome of one file, with the bar out of the way."""
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
            told = f"{self._done} of {self._files} files, {self._seconds / 60:.1f} minutes of sound"
            with suppress(OSError, ValueError):
                self._bar.update(self._bar.task_ids[0], description=told)
                self._bar.refresh()
