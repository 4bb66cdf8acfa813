"""Base of the text datasets for language models: vocabulary, batches of each split, cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Literal

from dltrain.data.cache import Cache
from dltrain.data.cleaning import FORM
from dltrain.data.contents import Hashes, hash_fields
from dltrain.data.text.encoding import (
    EncodedTokens,
    count_unknown,
    encode_files,
    learn_vocabulary,
    make_empty_tokens,
    recall_scan,
)
from dltrain.data.text.lines import describe_lines, describe_written_marks
from dltrain.data.text.passages import EvaluationWindows, Passages, SentenceBatches, TextWindows
from dltrain.data.text.sets import Split
from dltrain.data.text.vocabulary import END, Vocabulary
from dltrain.data.text_files import LineSpan, TextFile, Unit, read_lines
from dltrain.dataset import DataSummary, SplitName, SplitSummary, Treatment
from dltrain.errors import DataError, UsageError
from dltrain.stream import Loader, Source

SPLITS: Mapping[SplitName, Split] = {"training": "train", "validation": "valid", "test": "test"}

TextForm = Literal["stream", "sentences"]

MANY_UNKNOWN = 0.1
"""A share of unknown tokens beyond which a perplexity says little."""
LONGEST_SENTENCE = 100_000
"""Tokens of a line beyond which a file is assumed not to be a list of sentences."""


@dataclass(frozen=True)
class TextLayout:
    """How a text is laid out in batches; the options of the same names."""

    form: TextForm
    batch_size: int
    evaluation_batch_size: int
    sequence_length: int
    random_lengths: bool
    max_words: int

    def __post_init__(self) -> None:
        if self.form == "sentences" and self.random_lengths:
            raise UsageError(
                "data.random_lengths: true needs data.form: stream; sentences have lengths of their own",
                advice="leave one of the two out",
            )


class TextDataset:
    """Base of the text datasets: the streams of their splits."""

    def __init__(
        self, name: str, seed: int, assets: Mapping[str, Any] | None, layout: TextLayout, *, cache: Cache
    ) -> None:
        self.name = name
        self.assets: Mapping[str, Any] = assets or {}
        self.fingerprint: dict[str, str] = {}
        self._seed, self._layout, self._cache = seed, layout, cache
        self._lowercase = False  # whether the text is converted to lower case
        self._composed = False  # whether the text is converted to NFC
        self._scanned: dict[str, TextFile] = {}
        self._encoded: dict[Split, EncodedTokens] = {}  # kept, since they are mapped from cache entries in use
        self._division: str | None = None
        self._sample_notice: str | None = None

    @property
    def notice(self) -> str | None:
        notices = [self._sample_notice] if self._sample_notice else []
        for name, (unknown, tokens) in self._count_unknown().items():
            if unknown > MANY_UNKNOWN * tokens:
                notices.append(
                    f"{name}: {unknown} of {tokens} {self.assets['unit']}s ({unknown / tokens:.0%}) are or become "
                    f"{self.assets['unknown']}, so that its perplexity says little; lower data.min_count, or use "
                    "data.unit: character"
                )
        if self._encoded:
            notices += self._describe_lines()
        return "\n".join(notices) or None

    def _describe_lines(self) -> Iterator[str]:
        vocabulary = Vocabulary(self.assets)
        for name, split in SPLITS.items():
            if split in self._encoded:
                lines = sum(span.last - span.first for span in self._spans(split))
                for found in describe_lines(self._encoded[split].ids, vocabulary.end, lines):
                    yield f"{name}: {found}"
        if vocabulary.unit == "word":
            yield from describe_written_marks(vocabulary.ids)

    def _count_unknown(self) -> dict[SplitName, tuple[int, int]]:
        """Count the unknown tokens and all tokens of each split that was encoded; none without `<unk>`."""
        number = Vocabulary(self.assets).unknown if self._encoded else None
        if number is None:
            return {}
        read = {name: self._encoded[split] for name, split in SPLITS.items() if split in self._encoded}
        return {name: (count_unknown(tokens, number), len(tokens.ids) - 1) for name, tokens in read.items()}

    def _spans(self, split: Split) -> list[LineSpan]:
        """Return the lines of a split; none if there is no such split."""
        raise NotImplementedError

    def _list_closed_files(self, split: Split) -> tuple[str, ...]:
        """Return the files of a split that have not been read yet, since only that split needs them."""
        raise NotImplementedError

    def summarize(self) -> DataSummary:
        splits = []
        for name, split in SPLITS.items():
            if closed := self._list_closed_files(split):
                splits.append(SplitSummary(name=name, examples=None, files=closed))
            elif spans := self._spans(split):
                files = tuple(dict.fromkeys(str(span.file.path) for span in spans))
                splits.append(SplitSummary(name=name, examples=sum(s.last - s.first for s in spans), files=files))
        unit = self.assets["unit"]
        facts = {"vocabulary": f"{len(self.assets['words'])} {unit}s"}
        for name, split in SPLITS.items():
            if split in self._encoded:
                tokens = self._encoded[split]
                facts[f"{name} text"] = f"{len(tokens.ids) - 1} {unit}s, the longest line {tokens.longest.tokens}"
        treatments = [
            Treatment(what=f"{name} {unit}s that are or become {self.assets['unknown']}", count=unknown, total=total)
            for name, (unknown, total) in self._count_unknown().items()
            if unknown
        ]
        return DataSummary(
            unit="lines",
            division=self._division,
            splits=tuple(splits),
            treatments=tuple(treatments),
            facts=facts,
        )

    def identities(self, split: SplitName) -> Hashes:
        """Each line with the line before it in the split: short lines often occur more than once."""
        return hash_fields(pairwise(chain([""], read_lines(self._spans(SPLITS[split])))))

    def _learn(
        self, unit: Unit, *, number: str | None, lowercase: bool, min_count: int = 1, max_vocabulary: int | None = None
    ) -> None:
        """Learn the vocabulary of the training lines; `number` is the word that stands for numbers, if there is one."""
        words, unknown = learn_vocabulary(
            self._spans("train"),
            unit,
            self._cache,
            lowercase=self._lowercase,
            composed=self._composed,
            min_count=min_count,
            max_vocabulary=max_vocabulary,
        )
        self.assets = {
            "dataset": self.name,
            **({"unicode": FORM} if self._composed else {}),
            "unit": unit,
            "words": words,
            "lowercase": lowercase,
            "number": number,
            "end": END,
            "unknown": unknown,
        }

    def training(self) -> Loader[Passages]:
        tokens, layout = self._tokens("train"), self._layout
        source: Source[Passages]
        if layout.form == "sentences":
            source = self._sentences(tokens, layout.batch_size, shuffled=True)
        else:
            columns, length, count = layout.batch_size, layout.sequence_length, len(tokens.ids) - 1
            if count < columns * length:
                names = ", ".join(str(span.file.path) for span in self._spans("train"))
                raise DataError(
                    f"{names}: {count} tokens to train on, but one window of {length} tokens in each of "
                    f"{columns} columns takes {columns * length}.",
                    advice="lower data.batch_size or data.sequence_length, or give more text",
                )
            source = TextWindows(tokens.ids, columns, length, seed=self._seed, random_lengths=layout.random_lengths)
        return Loader(source)

    def validation(self) -> Loader[Passages]:
        return self._evaluation("valid")

    def test(self) -> Loader[Passages]:
        return self._evaluation("test")

    def _evaluation(self, split: Split) -> Loader[Passages]:
        tokens, layout = self._tokens(split), self._layout
        if layout.form == "sentences":
            return Loader(self._sentences(tokens, layout.evaluation_batch_size, shuffled=False))
        end = Vocabulary(self.assets).end
        return Loader(EvaluationWindows(tokens.ids, end, layout.evaluation_batch_size, layout.sequence_length))

    def _sentences(self, tokens: EncodedTokens, batch_size: int, shuffled: bool) -> SentenceBatches:
        if tokens.longest.tokens > LONGEST_SENTENCE:
            file, line, count = tokens.longest
            raise DataError(
                f"{file}, line {line}: {count} tokens in one line; a sentence has at most {LONGEST_SENTENCE}. "
                "This is probably not one sentence a line.",
                advice="use data.form: stream, or give another file",
            )
        end, max_words = Vocabulary(self.assets).end, self._layout.max_words
        return SentenceBatches(tokens.ids, end, batch_size, max_words=max_words, seed=self._seed, shuffled=shuffled)

    def _tokens(self, split: Split) -> EncodedTokens:
        spans, vocabulary = self._spans(split), Vocabulary(self.assets)
        if not spans:
            return make_empty_tokens(vocabulary.end)
        self._encoded[split] = encode_files(
            spans, vocabulary, self._cache, lowercase=self._lowercase, composed=self._composed
        )
        return self._encoded[split]

    def _scan(self, name: str, path: Path) -> TextFile:
        """Scan a file once, and add it to the fingerprint as `name`."""
        if name not in self._scanned:
            self._scanned[name] = recall_scan(path, self._cache)
            if self._scanned[name].lines == 1 and self._scanned[name].returns > 1:
                raise DataError(
                    f"{path}: its lines end with carriage returns alone, so that it is one line",
                    advice="convert it (tr '\\r' '\\n' < FILE > NEW), or give another file",
                )
            self.fingerprint[name] = self._scanned[name].sha256
        return self._scanned[name]
