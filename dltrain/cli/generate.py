"""`dltrain generate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dltrain.errors import DataError, UsageError

if TYPE_CHECKING:
    from dltrain.data.text.generation import Text
    from dltrain.data.text.vocabulary import Vocabulary

BATCH = 64
UNKNOWN_NAMED = 10


def generate(
    run: Annotated[Path, typer.Argument(help="A run directory, or one checkpoint's directory.")],
    source: Annotated[str | None, typer.Argument(metavar="-", help="- to read the prompt from standard input.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The text to go on from. [default: none]")] = None,
    prompt_file: Annotated[
        Path | None, typer.Option(help="A file with the text to go on from; - is standard input.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Words, or characters, to generate at most.")] = 100,
    num_samples: Annotated[int, typer.Option(min=1, help="How many texts.")] = 1,
    temperature: Annotated[float, typer.Option(help="Above 1 is bolder, below 1 safer, 0 takes the likeliest.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Choose among so many of the likeliest. [default: all]")] = None,
    top_p: Annotated[float, typer.Option(help="Choose among the likeliest that reach this probability.")] = 1.0,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1 makes what the text holds already less likely (arXiv:1909.05858).")
    ] = 1.0,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="End before this text, '<eos>' meaning a new line; may be given again."),
    ] = None,
    ban: Annotated[
        list[str] | None,
        typer.Option(metavar="WORD", help="Never generate this; may be given again, '' for none. [default: <unk>]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other texts.")] = 0,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the text as it is generated; one sample only.")
    ] = False,
    checkpoint: Annotated[str | None, typer.Option(help="last, or the name of a checkpoint. [default: best]")] = None,
    device: Annotated[str | None, typer.Option(help="The device, if not the training's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each sample.")] = False,
) -> None:
    """Generate text.

    Prints the prompt as the model reads it, and its continuation; a line break is the token <eos>. The last line break
    of a prompt from a file or from standard input is dropped. The same seed gives the same text, and sample 3 does not
    depend on the number of samples, except for rounding in rare cases.

    Tokens are chosen in this order: repetition penalty, ban, temperature, top-k, top-p. The log-probabilities in --json
    are the model's own, before any of these.

    Examples:

      dltrain generate runs/ptb_lstm --prompt 'the company said' --max-tokens 50

      dltrain generate runs/ptb_lstm --num-samples 5 --temperature 0.8 --top-p 0.95 --stop '<eos>'

      echo 'a share of' | dltrain generate runs/ptb_lstm - --json
    """
    if stream and (num_samples > 1 or as_json):
        other = "--json" if as_json else f"--num-samples {num_samples}"
        raise UsageError(f"--stream prints one text as it grows and cannot go with {other}; leave one of them out")
    if stop and "" in stop:
        raise UsageError("--stop: found an empty text; allowed is a text of at least one character")
    text = prompt_text(source, prompt, prompt_file)
    from dltrain.capabilities import Generates
    from dltrain.data.text.generation import Ending, write
    from dltrain.data.text.vocabulary import Vocabulary
    from dltrain.decoding.sampling import Sampling
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
    trained = load_trained(find_checkpoint(run, checkpoint), {"trainer": {"device": device}} if device else {})
    if not isinstance(trained.task, Generates):
        raise UsageError(f"{run}: the task '{trained.experiment.task.name}' does not generate text")
    if trained.record.notice:
        typer.echo(f"warning: {trained.record.notice}", err=True)
    vocabulary = Vocabulary(trained.task.vocabulary)
    sampling = replace(sampling, banned=banned_ids(vocabulary, ban))
    ids, unknown = vocabulary.encode(text)
    if unknown:
        typer.echo(f"warning: {unknown_words(vocabulary, unknown)}", err=True)
    ending = Ending(max_tokens, tuple(one.replace(vocabulary.words[vocabulary.end], "\n") for one in stop or ()))
    read = vocabulary.decode(ids)
    model: Any = trained.model
    if stream:
        typer.echo(read, nl=False)
    for start in range(0, num_samples, BATCH):
        samples = range(start, min(start + BATCH, num_samples))
        # In float32 whatever the training's precision: casting the weights anew costs more than a single token.
        tell = (lambda piece: typer.echo(piece, nl=False)) if stream else (lambda piece: None)
        texts = write(model, vocabulary, ids, trained.runtime.device, sampling, samples, seed, ending, tell)
        for number, one in zip(samples, texts, strict=True):
            if as_json:
                typer.echo(as_line(vocabulary, read, one, number, seed))
            elif stream:
                typer.echo()
            else:
                typer.echo((f"--- sample {number}\n" if num_samples > 1 else "") + read + str(one))


def prompt_text(source: str | None, prompt: str | None, prompt_file: Path | None) -> str:
    """The prompt, wherever it comes from. Raises UsageError for more than one, DataError for what is no UTF-8 text."""
    if source not in (None, "-"):
        raise UsageError(f"found '{source}' behind the run; allowed is - (standard input), or --prompt '{source}'")
    given = [
        name
        for name, value in (("-", source), ("--prompt", prompt), ("--prompt-file", prompt_file))
        if value is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: allowed is one prompt; leave out the others")
    if not given:
        return ""
    if prompt is not None and prompt != "-":
        return prompt
    if prompt_file is not None and str(prompt_file) != "-":
        place = str(prompt_file)
        try:
            content = prompt_file.read_bytes()
        except OSError as error:
            raise DataError(f"{place}: cannot be read: {error.strerror}", advice="name a text file") from None
    else:
        place, content = "standard input", sys.stdin.buffer.read() if sys.stdin else b""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: byte {error.start} is not UTF-8 text", advice="convert it, such as with iconv -t UTF-8"
        ) from None


def banned_ids(vocabulary: Vocabulary, words: Sequence[str] | None) -> tuple[int, ...]:
    """The ids of the words that are never to be generated; by default the unknown word's.

    Raises UsageError for what is no word of the vocabulary, and where no word would be left.
    """
    if words is None:
        return () if vocabulary.unknown is None else (vocabulary.unknown,)
    known = {word: index for index, word in enumerate(vocabulary.words)}
    banned: set[int] = set()
    for word in filter(None, words):
        ids, unknown = ([known[word]], []) if word in known else vocabulary.encode(word)
        if unknown or len(ids) != 1:
            near = get_close_matches(word, vocabulary.words, 1)
            advice = f"\ndid you mean '{near[0]}'?" if near else ""
            raise UsageError(f"--ban: '{word}' is not one of the {vocabulary.size} words of the vocabulary{advice}")
        banned.update(ids)
    if len(banned) == vocabulary.size:
        raise UsageError(f"--ban: names all {vocabulary.size} words of the vocabulary; leave at least one")
    return tuple(sorted(banned))


def unknown_words(vocabulary: Vocabulary, words: Sequence[str]) -> str:
    """What happens to words of the prompt that the model does not know."""
    different = list(dict.fromkeys(words))
    named = ", ".join(map(repr, different[:UNKNOWN_NAMED]))
    more = f" and {len(different) - UNKNOWN_NAMED} more" if len(different) > UNKNOWN_NAMED else ""
    fate = "left out" if vocabulary.unknown is None else f"read as {vocabulary.words[vocabulary.unknown]}"
    return f"not in the model's vocabulary and {fate}: {named}{more}"


def as_line(vocabulary: Vocabulary, prompt: str, text: Text, number: int, seed: int) -> str:
    tokens = [
        {"token": vocabulary.words[token], "log_probability": log_probability}
        for token, log_probability in zip(text.ids, text.log_probabilities, strict=True)
    ]
    return json.dumps(
        {"sample": number, "prompt": prompt, "text": str(text), "tokens": tokens, "seed": seed, "ended": text.ended}
    )
