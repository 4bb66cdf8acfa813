"""`dltrain data lm`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dltrain.cli.shared.options import check_output
from dltrain.errors import DataError, UsageError


def lm(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The ARPA file to write; gzipped if it ends in .gz.")
    ],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT...",
            help="Text files, plain or gzipped; - is standard input. [default, with --like: the run's training text]",
        ),
    ] = None,
    order: Annotated[int, typer.Option(min=1, max=5, help="Words in the longest n-grams.")] = 3,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Normalise the text like transcripts: lower case, no punctuation.")
    ] = False,
    like: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Spell the text like the transcripts of this run, in its alphabet."),
    ] = None,
) -> None:
    """Estimate an n-gram language model of words.

    Reads text with one sentence a line. The model is interpolated Kneser-Ney, in ARPA format, for `dltrain transcribe
    --lm` and `dltrain eval --decode lm=`. The text has to be spelled as the model's transcripts are, or no word of it
    is found; --like sees to that.

    Examples:

      dltrain data lm --like runs/common_voice -o words.arpa

      dltrain data lm sentences.txt --like runs/common_voice -o words.arpa

      zcat news.gz | dltrain data lm - --order 4 --normalize -o news.arpa.gz
    """
    from dltrain.decoding.ngram import estimate_ngrams, write_arpa

    check_output(output)
    spell = choose_spelling(normalize, like)
    if texts:
        sentences: Iterator[str] = (spell(line) for text in texts for line in read_text_lines(text))
    elif like is not None:
        sentences = iter(load_transcripts(like))
    else:
        raise UsageError("no text given", advice="name text files, or a run with --like for its training text")
    model = estimate_ngrams(sentences, order)
    write_arpa(model, output)
    counts = Counter(key.count(" ") + 1 for key in model.probabilities)
    typer.echo(f"{output}: " + ", ".join(f"{counts[words]} {words}-grams" for words in range(1, order + 1)))


def choose_spelling(normalize: bool, like: Path | None) -> Callable[[str], str]:
    """Choose the function that spells each sentence. Raises UsageError if transcripts have no words."""
    if like is None and not normalize:
        return lambda line: line
    from dltrain.data.speech.transcripts import normalize_transcript, spell_transcript

    if like is None:
        return normalize_transcript
    from dltrain.runs.finding import find_checkpoint

    assets = find_checkpoint(like).record.assets
    if "text" not in assets or "alphabet" not in assets:
        raise UsageError(f"--like {like}: its data has no transcripts", advice="name a run of a speech recogniser")
    if " " not in assets["alphabet"]:
        raise UsageError(f"--like {like}: its transcripts have no spaces, so there are no words to count")
    symbols = {character: index for index, character in enumerate(assets["alphabet"])}
    return lambda line: spell_transcript(normalize_transcript(line), symbols).text


def load_transcripts(run: Path) -> Sequence[str]:
    """Load the transcripts of a run's training clips. Raises UsageError for data without any, or that has changed."""
    from dltrain.data.speech.recognition import Transcribed
    from dltrain.runs.changed_data import check_same_data
    from dltrain.runs.finding import find_checkpoint
    from dltrain.runs.loading import load_trained

    trained = load_trained(find_checkpoint(run))
    dataset = trained.dataset()
    if not isinstance(dataset, Transcribed):
        raise UsageError(f"--like {run}: its data has no training text", advice="name text files")
    transcripts = dataset.transcripts()
    check_same_data(run, trained.record, dataset.fingerprint, allowed=False, offer="name text files")
    return transcripts


def read_text_lines(text: str) -> Iterator[str]:
    """Read the lines of a file, or of standard input. Raises DataError if it is not UTF-8 text."""
    from dltrain.data.text_files import LineSpan, read_text_pieces, scan_file

    if text == "-":
        for number, line in enumerate(sys.stdin.buffer if sys.stdin else (), 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                message = f"standard input, line {number}: not UTF-8 text"
                raise DataError(message, advice="convert it, for example with iconv -t UTF-8") from None
        return
    file = scan_file(Path(text))
    rest = ""
    for piece in read_text_pieces(LineSpan(file, 0, file.lines), "word"):
        *lines, rest = (rest + piece.text).split("\n")
        yield from lines
