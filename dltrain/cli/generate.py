"""`dltrain generate`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dltrain.cli.shared.options import CheckpointName, DeviceName, RunPath, load_model, print_notice
from dltrain.errors import DataError, UsageError
from dltrain.runs.generation import (
    encode_prompt,
    find_banned_ids,
    ignore_piece,
    make_ending,
    read_vocabulary,
    write_samples,
)

if TYPE_CHECKING:
    from dltrain.data.text.vocabulary import Vocabulary
    from dltrain.decoding.generation import GrowingText
    from dltrain.runs.loading import Trained


def generate(
    run: RunPath,
    source: Annotated[str | None, typer.Argument(metavar="-", help="- to read the prompt from standard input.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Text to continue. [default: none]")] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="File with text to continue; - is standard input.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Largest number of words, or characters.")] = 100,
    num_samples: Annotated[int, typer.Option(min=1, help="Number of texts.")] = 1,
    temperature: Annotated[float, typer.Option(help="Above 1 is bolder, below 1 safer, 0 takes the likeliest.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Choose among this many likeliest tokens. [default: all]")] = None,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest that reach this probability.")] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1 makes tokens already in the text less likely (arXiv:1909.05858).")
    ] = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="End before this text, '<eos>' meaning a line break; may be repeated."),
    ] = None,
    ban: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Never generate this; may be repeated, '' for none. [default: <unk>]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other texts.")] = 0,
    stream: Annotated[bool, typer.Option("--stream", help="Print text as it is generated; one sample only.")] = False,
    checkpoint: CheckpointName = None,
    device: DeviceName = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each sample.")] = False,
) -> None:
    """Generate text.

    Prints the prompt as the model reads it, and its continuation. The last line break of a prompt from a file or from
    standard input is dropped. The same seed gives the same text; sample 3 does not depend on --num-samples.

    The order is: repetition penalty, ban, temperature, top-k, top-p. Log-probabilities in --json are before all these.

    Examples:

      dltrain generate runs/ptb_lstm --num-samples 5 --temperature 0.8 --top-p 0.95 --stop '<eos>'

      echo 'a share of' | dltrain generate runs/ptb_lstm - --json
    """
    check_stream(stream, num_samples, as_json)
    text = read_prompt(source, prompt, prompt_file)
    from dltrain.decoding.sampling import Sampling

    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    trained, vocabulary = load_language_model(run, checkpoint, device)
    sampling = replace(sampling, banned=find_banned_ids(vocabulary, ban))
    ids = encode_prompt(vocabulary, text, print_notice)
    ending = make_ending(vocabulary, max_tokens, stop or [])
    shown = vocabulary.decode(ids)
    typer.echo(shown if stream else "", nl=False)
    echo = partial(typer.echo, nl=False) if stream else ignore_piece
    texts = write_samples(trained, vocabulary, ids, sampling, ending=ending, count=num_samples, seed=seed, echo=echo)
    for number, one in enumerate(texts):
        if as_json:
            typer.echo(format_sample(vocabulary, shown, one, number=number, seed=seed))
        else:
            title = f"--- sample {number}\n" if num_samples > 1 else ""
            typer.echo("" if stream else f"{title}{shown}{one}")


def check_stream(stream: bool, samples: int, as_json: bool) -> None:
    """Raises UsageError where several texts, or JSON, are to be printed as they grow."""
    if stream and (samples > 1 or as_json):
        other = "--json" if as_json else f"--num-samples {samples}"
        raise UsageError(f"--stream prints one text as it grows and cannot go with {other}; leave one of them out")


def load_language_model(run: Path, checkpoint: str | None, device: str | None) -> tuple[Trained, Vocabulary]:
    """A trained model that generates text, and its vocabulary. Raises UsageError for a task that generates none."""
    trained = load_model(run, checkpoint, device)
    return trained, read_vocabulary(run, trained)


def read_prompt(source: str | None, prompt: str | None, prompt_file: Path | None) -> str:
    """The prompt from any of its three sources. Raises UsageError for several, DataError unless it is UTF-8 text."""
    if source not in (None, "-"):
        raise UsageError(f"found '{source}' after the run; allowed is - (standard input), or --prompt '{source}'")
    sources = {"-": source, "--prompt": prompt, "--prompt-file": prompt_file}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: allowed is one prompt; leave out the others")
    if not given:
        return ""
    if prompt is not None and prompt != "-":
        return prompt
    if prompt_file is not None and str(prompt_file) != "-":
        path = str(prompt_file)
        try:
            content = prompt_file.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}", advice="name a text file") from None
    else:
        path, content = "standard input", sys.stdin.buffer.read() if sys.stdin else b""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        message = f"{path}: byte {error.start} is not UTF-8 text"
        raise DataError(message, advice="convert it, such as with iconv -t UTF-8") from None


def format_sample(vocabulary: Vocabulary, prompt: str, text: GrowingText, *, number: int, seed: int) -> str:
    """A sample as one line of JSON."""
    tokens = [
        {"token": vocabulary.words[token], "log_probability": log_probability}
        for token, log_probability in zip(text.ids, text.log_probabilities, strict=True)
    ]
    facts = {"sample": number, "prompt": prompt, "text": str(text), "tokens": tokens}
    return json.dumps({**facts, "seed": seed, "ended": text.ended})
