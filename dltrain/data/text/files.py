"""Your own text files for language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction as Rational
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from dltrain.data.cache import Cache, cache_directory
from dltrain.data.cleaning import FORM
from dltrain.data.text.dataset import TextDataset, TextForm, TextLayout
from dltrain.data.text.passages import Passages
from dltrain.data.text.sets import Split
from dltrain.data.text_files import LineSpan, TextFile, require_files
from dltrain.dataset import no_test_split
from dltrain.errors import DataError
from dltrain.options import BatchSize, FilePaths, FolderPath, Fraction, PositiveFloat, PositiveInt
from dltrain.registry import datasets
from dltrain.stream import Loader


@datasets.register("text", data="text")
class TextFiles(TextDataset):
    """Your own text files, UTF-8, plain or .gz: words between white space, or characters.

    Validation and test are files of their own, or the last lines of the training files: with `validation: 0.1` and
    `test: 0.05` the first 85 % of all lines are trained on, the next 10 % are validation, the last 5 % test. The
    vocabulary is that of the training lines, the most frequent first, equally frequent ones by code points; each line
    ends with the token `<eos>`, and `<unk>` replaces what `min_count` and `max_vocabulary` exclude. Without them there
    is no `<unk>`, unless the text has it, and an unknown word in validation or test is an error. Every token of
    validation and test is scored once, whatever the batch size. Text is encoded once, into the cache.

    Options:
        training: files to train on, read one after the other.
        validation: share of the training files' lines, or files.
        test: share of the training files' lines, or files.
        root: folder that the file names are relative to.
        unit: token unit: word or character.
        lowercase: read everything in lower case.
        min_count: tokens less frequent than this in training become `<unk>`; default 2 for words and 1 for characters.
        max_vocabulary: keep only this number of tokens, the most frequent, `<eos>` and `<unk>` included.
        form: stream (one text in batch_size columns, whose windows continue each other) or sentences (a line each).
        batch_size: columns of the training text, or sentences, in a batch.
        sequence_length: tokens of each window; the reach of back-propagation in form stream.
        random_lengths: windows of random lengths, as in Merity et al. 2018 (arXiv:1708.02182); form stream only.
        max_words: longer sentences are cut into pieces of this many words (or characters); form sentences only.
        evaluation_batch_size: columns, or sentences, in a batch of validation and test.
        cache: folder for encoded text; $DLTRAIN_CACHE or ~/.cache/dltrain when not given.
        cache_gigabytes: limit of the cache's size; beyond it the least recently used entries are removed.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        training: FilePaths,
        validation: Fraction | FilePaths = 0.1,
        test: Fraction | FilePaths = 0.0,
        root: FolderPath = ".",
        unit: Literal["word", "character"] = "word",
        lowercase: bool = False,
        min_count: PositiveInt | None = None,
        max_vocabulary: Annotated[int, Ge(3)] | None = None,
        form: TextForm = "stream",
        batch_size: BatchSize = 20,
        sequence_length: PositiveInt = 35,
        random_lengths: bool = False,
        max_words: PositiveInt = 100,
        evaluation_batch_size: PositiveInt = 10,
        cache: FolderPath | None = None,
        cache_gigabytes: PositiveFloat = 10.0,
    ) -> None:
        layout = TextLayout(
            form, batch_size, evaluation_batch_size, sequence_length, random_lengths=random_lengths, max_words=max_words
        )
        super().__init__(variant, seed, assets, layout, cache=Cache(cache_directory(cache), cache_gigabytes * 1e9))
        self._root, self._training, self._lowercase = Path(root).expanduser(), training, lowercase
        self._held_out: Mapping[str, float | list[str]] = {"valid": validation, "test": test}
        self._composed = assets is None or assets.get("unicode") == FORM  # runs of earlier versions read texts as is
        shares = [name for name, held in self._held_out.items() if isinstance(held, float) and held]
        self._division = f"{' and '.join(shares)} are the last lines of the training files" if shares else None
        if assets is None:
            least = min_count or (2 if unit == "word" else 1)
            self._learn(unit, number=None, lowercase=lowercase, min_count=least, max_vocabulary=max_vocabulary)

    def _spans(self, split: Split) -> list[LineSpan]:
        own = self._held_out.get(split)
        if isinstance(own, list):
            return [LineSpan(file, 0, file.lines) for file in self._scan_files(own)]
        if own == 0:
            return []
        files = self._scan_files(self._training)
        first, last = self._locate_lines(split, sum(file.lines for file in files))
        spans = []
        for file in files:
            if max(0, first) < min(file.lines, last):
                spans.append(LineSpan(file, max(0, first), min(file.lines, last)))
            first, last = first - file.lines, last - file.lines
        return spans

    def _list_closed_files(self, split: Split) -> tuple[str, ...]:
        own = self._held_out.get(split)
        return tuple(own) if isinstance(own, list) and split not in self._encoded else ()

    def _locate_lines(self, split: Split, lines: int) -> tuple[int, int]:
        """Return the first line of a split, and the one after its last, among all lines of the training files."""
        shares = [0.0 if isinstance(self._held_out[one], list) else self._held_out[one] for one in ("valid", "test")]
        validation, test = (round(Rational(str(share)) * lines) for share in shares)
        train = lines - validation - test
        if train < 1:
            raise DataError(
                f"{', '.join(self._training)}: data.validation={shares[0]} and data.test={shares[1]} of {lines} lines "
                "leave none to train on; allowed are smaller shares, or separate files."
            )
        if split != "train" and not (validation if split == "valid" else test):
            raise DataError(
                f"{', '.join(self._training)}: data.{'validation' if split == 'valid' else 'test'}="
                f"{shares[split == 'test']} of {lines} lines is no line; allowed are 0, a larger share, or files."
            )
        return {"train": (0, train), "valid": (train, train + validation), "test": (train + validation, lines)}[split]

    def _scan_files(self, names: Sequence[str]) -> list[TextFile]:
        return [self._scan(name, path) for name, path in zip(names, require_files(self._root, names), strict=True)]

    def test(self) -> Loader[Passages]:
        if self._held_out["test"] == 0:
            raise no_test_split("a share of the lines, or as files", self._held_out["valid"] != 0)
        return super().test()
