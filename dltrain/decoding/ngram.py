"""Word n-gram language models: read from ARPA files, scored, estimated from text, and written.

The format is that of SRILM's ngram-format(5): `\\data\\` with the number of n-grams of each order, a section for each
order with lines "log10 p, words, log10 of the back-off weight", and `\\end\\`.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from dltrain.errors import DataError
from dltrain.files import write_atomically

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
HIGHEST_ORDER = 5
UNKNOWN_WITHOUT_MODEL = -100.0
"""log10 p of an unknown word in a model without <unk>, as KenLM has it."""
NEVER = -99.0
"""log10 p of <s>, which nothing predicts, as SRILM has it."""

WordTuple = tuple[str, ...]


@dataclass(frozen=True)
class NGramModel:
    """Log-probabilities and back-off weights, to base 10, of n-grams up to `order`; keys are spaced words.

    `probabilities` hold every n-gram of the model, `backoffs` those whose weight is not 0.
    """

    order: int
    probabilities: Mapping[str, float]
    backoffs: Mapping[str, float]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """All words of the model, with <s>, </s> and <unk> if it has them."""
        return frozenset(key for key in self.probabilities if " " not in key)

    def map_unknown(self, word: str) -> str:
        """Return the word, or <unk> if it is not in the model."""
        return word if word in self.probabilities else UNKNOWN

    def after(self, context: WordTuple, word: str) -> WordTuple:
        """Return the context of the word after `word`: the last order - 1 words, unknown ones as <unk>."""
        return (*context, self.map_unknown(word))[1 - self.order :] if self.order > 1 else ()

    def score(self, context: WordTuple, word: str) -> float:
        """Compute log10 p(word | context): the longest known n-gram, times the back-off weights of longer contexts.

        `context` is () or what `after` returned; a sentence starts with (`<s>`,).
        """
        word = self.map_unknown(word)
        weight = 0.0
        for start in range(len(context) + 1):
            rest = context[start:]
            found = self.probabilities.get(" ".join((*rest, word)))
            if found is not None:
                return weight + found
            if rest:
                weight += self.backoffs.get(" ".join(rest), 0.0)
        return weight + UNKNOWN_WITHOUT_MODEL

    @property
    def beginning(self) -> WordTuple:
        return self.after((), BEGIN)


def read_arpa(path: Path) -> NGramModel:
    """Read an ARPA file, plain or .gz, of orders 1 to 5. Raises DataError, with the line, for anything else."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            return _ArpaReader(path, file).model()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read as a language model: {getattr(error, 'strerror', None) or error}"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text ({error.reason}); a language model is an ARPA file, plain or .gz"
        ) from None


class _ArpaReader:
    """One pass over the lines of an ARPA file."""

    def __init__(self, path: Path, lines: Iterable[str]) -> None:
        self._path, self._number = path, 0
        self._lines = self._filled(lines)

    def _filled(self, lines: Iterable[str]) -> Iterator[str]:
        for self._number, line in enumerate(lines, 1):
            if text := line.strip():
                yield text

    def _fail(self, expected: str, found: str | None) -> NoReturn:
        where = f"{self._path}:{self._number}"
        what = "the end of the file" if found is None else f"'{found[:60]}'"
        raise DataError(f"{where}: expected {expected}, found {what}", advice="make or copy the ARPA file again")

    def model(self) -> NGramModel:
        if "\\data\\" not in self._lines:  # any text is allowed before it
            self._fail("a line '\\data\\', since a language model is an ARPA file", None)
        counts, line = self._counts()
        probabilities: dict[str, float] = {}
        backoffs: dict[str, float] = {}
        for order, count in enumerate(counts, 1):
            if line != f"\\{order}-grams:":
                self._fail(f"'\\{order}-grams:'", line)
            before = len(probabilities)
            line = self._section(order, probabilities, backoffs)
            found = len(probabilities) - before
            if found != count:
                self._fail(f"the {count} {order}-grams that \\data\\ lists", f"{found} different ones")
        if line != "\\end\\":
            self._fail("'\\end\\'", line)
        return NGramModel(len(counts), probabilities, backoffs)

    def _counts(self) -> tuple[list[int], str | None]:
        """Read the numbers of n-grams by order. Also returns the line after them."""
        counts: list[int] = []
        line = next(self._lines, None)
        while line and (match := re.fullmatch(rf"ngram\s+{len(counts) + 1}\s*=\s*(\d+)", line)):
            counts.append(int(match[1]))
            line = next(self._lines, None)
        if not 1 <= len(counts) <= HIGHEST_ORDER:
            self._fail(f"'ngram 1=COUNT' and so on, for orders 1 to {HIGHEST_ORDER}", line)
        return counts, line

    def _section(self, order: int, probabilities: dict[str, float], backoffs: dict[str, float]) -> str | None:
        """Read the n-grams of one order. Returns the line that ends them."""
        for line in self._lines:
            if line.startswith("\\") and line.endswith(("-grams:", "\\end\\")):
                return line
            fields = line.split()
            if len(fields) not in (order + 1, order + 2):
                self._fail(f"log10 p, {order} words and optionally a back-off weight", line)
            key = " ".join(fields[1 : order + 1])
            probabilities[key] = probability = self._value(fields[0], line)
            if probability > 0:
                self._fail("a log10 probability of at most 0", line)
            if len(fields) == order + 2 and (weight := self._value(fields[-1], line)):
                backoffs[key] = weight
        return None

    def _value(self, text: str, line: str) -> float:
        try:
            value = float(text)
        except ValueError:
            self._fail(f"a number, not '{text}', in the n-gram", line)
        if math.isnan(value):
            self._fail("a number other than NaN", line)
        return value


def write_arpa(model: NGramModel, path: Path) -> None:
    """Write `model` as ARPA, gzipped where `path` ends in .gz; the same model gives the same bytes."""
    by_order: list[list[str]] = [[] for _ in range(model.order)]
    for key in model.probabilities:
        by_order[key.count(" ")].append(key)
    lines = ["\\data\\", *(f"ngram {order}={len(keys)}" for order, keys in enumerate(by_order, 1)), ""]
    for order, keys in enumerate(by_order, 1):
        lines.append(f"\\{order}-grams:")
        for key in sorted(keys):
            weight = f"\t{model.backoffs[key]:.7f}" if key in model.backoffs else ""
            lines.append(f"{model.probabilities[key]:.7f}\t{key}{weight}")
        lines.append("")
    content = "\n".join([*lines, "\\end\\", ""]).encode()
    write_atomically(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


FollowerCounts = dict[WordTuple, dict[str, int]]
"""How often each word follows each context."""


def estimate_ngrams(sentences: Iterable[str], order: int) -> NGramModel:
    """Estimate an interpolated Kneser-Ney model from text, one sentence per line, words separated by white space.

    One discount for each order, n1 / (n1 + 2 n2) of the numbers of n-grams seen once and twice (Kneser and Ney 1995;
    the interpolated form of Chen and Goodman 1999), one half where that is 0 or 1. Below the highest order a word
    counts once for each different word before it. The remaining probability of the first order is divided evenly
    between them and <unk>. Raises DataError if there is no word, and for <s> or </s> within a sentence.
    """
    if not 1 <= order <= HIGHEST_ORDER:
        raise ValueError(f"the order of a language model is 1 to {HIGHEST_ORDER}, found {order}")
    tables = _adjust_counts(_count_highest_order(sentences, order), order)
    words = sorted({*tables[0][()], UNKNOWN})
    probabilities: dict[str, float] = {BEGIN: NEVER}
    backoffs: dict[str, float] = {}
    lower: dict[WordTuple, float] = {}
    for table in tables:
        once, twice = (
            sum(count == times for counts in table.values() for count in counts.values()) for times in (1, 2)
        )
        discount = once / (once + 2 * twice) if once and twice else 0.5
        lower_next: dict[WordTuple, float] = {}
        for context, followers in table.items():
            total = sum(followers.values())
            left = discount * len(followers) / total
            for word in followers if context else words:
                ngram, shorter = (*context, word), (*context[1:], word)
                share = max(followers.get(word, 0) - discount, 0.0) / total
                lower_next[ngram] = share + left * (lower[shorter] if context else 1 / len(words))
            if context:
                backoffs[" ".join(context)] = math.log10(left)
        probabilities.update((" ".join(ngram), math.log10(value)) for ngram, value in lower_next.items())
        lower = lower_next
    return NGramModel(order, probabilities, backoffs)


def _count_highest_order(sentences: Iterable[str], order: int) -> FollowerCounts:
    """Count how often each word follows the order - 1 words before it, or fewer at the start of a sentence."""
    counts: FollowerCounts = defaultdict(Counter)
    for number, sentence in enumerate(sentences, 1):
        words = sentence.split()
        if not words:
            continue
        if BEGIN in words or END in words:
            raise DataError(f"line {number} of the text: {BEGIN} and {END} are added to each line; take them out")
        padded = (BEGIN, *words, END)
        for index in range(1, len(padded)):
            counts[padded[max(0, index - order + 1) : index]][padded[index]] += 1
    if not counts:
        raise DataError("the text for the language model has no words", advice="name other files")
    return counts


def _adjust_counts(highest: FollowerCounts, order: int) -> list[FollowerCounts]:
    """Adjust the counts of each order, 1 first: occurrences for the highest, below it the different words before.

    An n-gram that starts a sentence has no word before it: it keeps its number of occurrences.
    """
    tables: list[FollowerCounts] = [defaultdict(Counter) for _ in range(order)]
    for context, followers in highest.items():
        for word, count in followers.items():
            tables[len(context)][context][word] += count
    for longer in range(order - 1, 0, -1):
        for context, followers in tables[longer].items():
            for word in followers:
                tables[longer - 1][context[1:]][word] += 1
    return tables
