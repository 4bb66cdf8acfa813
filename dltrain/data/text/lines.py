"""What makes the perplexity of a text say something else: empty lines, and marks that are written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from numpy.typing import NDArray

MANY_EMPTY: Final = 0.1
"""Share of a split's lines from which empty ones are reported."""
_MARKS: Final = ("<s>", "</s>", "<bos>", "<sos>", "<pad>", "<|endoftext|>", "[CLS]", "[SEP]", "[PAD]")
_PIECE: Final = 1 << 22


def describe_lines(ids: NDArray[Any], end: int, lines: int) -> Iterator[str]:
    """Describe a split of `lines` lines, encoded as `ids` (tokens,), the first of which is `end`, a sentence each."""
    ended = empty = 0
    for start in range(1, len(ids), _PIECE):
        ends = ids[start - 1 : start + _PIECE] == end  # with the token before
        ended += int(ends[1:].sum())
        empty += int((ends[1:] & ends[:-1]).sum())
    if ended > lines:
        yield f"{ended - lines} of its tokens are <eos> written out; each line ends with one anyway, so remove them"
    elif empty > MANY_EMPTY * lines:
        yield f"{empty} of {lines} lines are empty; each is an <eos>, which perplexity counts"


def describe_written_marks(words: Mapping[str, int]) -> Iterator[str]:
    """Describe marks of sentences in a vocabulary, which maps words to ids."""
    if found := [mark for mark in _MARKS if mark in words]:
        yield (
            f"{', '.join(found)} in the text are read as words, which are easily predicted, so that perplexity is too "
            "low; remove them: each line ends with <eos> anyway"
        )
