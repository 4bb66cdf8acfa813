"""Texts with a label each, from tables of the user's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy
import torch
from annotated_types import Ge, MinLen

from dltrain.data.delimited import read_delimited
from dltrain.data.documents import topics as labelled_topics
from dltrain.data.documents.batches import (
    DocumentEncoder,
    Documents,
    DocumentSet,
    EvaluationBatches,
    Tokenizer,
    TrainingBatches,
    learn_document_vocabulary,
)
from dltrain.data.images.mnist import held_out
from dltrain.data.splits import select_fold
from dltrain.data.text.vocabulary import END
from dltrain.data.text_files import find_file, scan_file
from dltrain.dataset import no_test_split
from dltrain.errors import DataError
from dltrain.options import Fold, Fraction, PositiveInt
from dltrain.registry import datasets
from dltrain.stream import Loader

Assets = Mapping[str, Any]
Files = Annotated[list[str], MinLen(1)]

_NAMED_PLACES = 3


class LabelledRow(NamedTuple):
    """A text and its label; `group` is what must not be divided between splits, `place` the file and line."""

    text: str
    label: str
    group: str
    place: str


class Splits(NamedTuple):
    """The rows of each split; `test` is None where the training files have no part in it."""

    training: Sequence[LabelledRow]
    validation: Sequence[LabelledRow]
    test: Sequence[LabelledRow] | None


@datasets.register("labelled_text", data="documents")
class LabelledTexts:
    """Texts and their labels from .csv, .tsv or .jsonl files, plain or .gz, one row a text.

    The first line of a .csv or .tsv file names its columns; fields of a .csv file may be quoted and then hold commas
    and line ends, a .tsv file has no quoting. Validation and test are files of their own, or shares of the training
    files' rows, each label giving its part of them; with `group` they are shares of the groups instead. The
    vocabulary is that of the texts trained on. Every text ends with the token `<eos>`, so an empty one can be read too;
    empty texts are kept and told of. Batches hold texts of like lengths.

    Options:
        training: files to train on.
        validation: share of the training files' rows, or files.
        test: share of the training files' rows, or files.
        root: folder that the files' names start from.
        text: column with the texts.
        label: column with the labels.
        group: column whose equal values stay in one split, such as the author; null for none.
        fold: hold out this part of a cross-validation as the test split, instead of what `test` says.
        unit: what a token is: a word, or a character.
        lowercase: read everything in lower case.
        punctuation: make each mark of punctuation a word of its own; false cuts words at white space alone.
        min_count: what occurs less often in training is `<unk>`; when not given, 2 for words and 1 for characters.
            Without `<unk>` unknown characters are left out.
        max_vocabulary: keep only so many tokens, the most frequent, `<eos>` and `<unk>` included.
        max_tokens: longer texts are cut after this many tokens.
        batch_size: texts in a training batch.
        evaluation_batch_size: texts in a batch of validation and test.
        when_missing: without the training files, stop with an error, or use the Python sentences sample and say so.
        sample: use the Python sentences sample even where the files are.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        training: Files,
        validation: Fraction | Files = 0.1,
        test: Fraction | Files = 0.1,
        root: str = ".",
        text: str = "text",
        label: str = "label",
        group: str | None = None,
        fold: Fold | None = None,
        unit: Literal["word", "character"] = "word",
        lowercase: bool = True,
        punctuation: bool = True,
        min_count: PositiveInt | None = None,
        max_vocabulary: Annotated[int, Ge(3)] | None = None,
        max_tokens: PositiveInt = 400,
        batch_size: PositiveInt = 32,
        evaluation_batch_size: PositiveInt = 128,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        self._variant, self._seed, self._root = variant, seed, Path(root).expanduser()
        self._training, self._columns = training, {"text": text, "label": label, "group": group}
        self._held: Mapping[str, float | list[str]] = {"validation": validation, "test": test}
        self._fold = fold
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._fingerprint: dict[str, str] = {}
        self._empty: dict[str, None] = {}
        self._assets: Assets = assets or {}
        self._sample_notice = ""
        trained_on = self._assets.get("dataset")
        if labelled_topics.is_sample(trained_on):
            other = "" if trained_on == labelled_topics.sample_name() else f" on another version: {trained_on}"
            self._use_sample(f"as this model's training did{other}.")
        elif sample:
            self._use_sample("as asked.")
        elif assets is None:
            self._look_for_training_files(when_missing)
        if assets is None:
            cut = Tokenizer(unit, lowercase, punctuation)
            self._assets = self._learn(cut, max_tokens, min_count or (2 if unit == "word" else 1), max_vocabulary)

    @property
    def name(self) -> str:
        return labelled_topics.sample_name() if self._sample_notice else self._variant

    @property
    def assets(self) -> Assets:
        return self._assets

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    @property
    def notice(self) -> str | None:
        told = [self._sample_notice] if self._sample_notice else []
        if self._empty:
            places = "; ".join([*self._empty][:_NAMED_PLACES])
            more = len(self._empty) - _NAMED_PLACES
            told.append(f"empty texts, read as {END} alone: {places}" + (f"; and {more} more" if more > 0 else ""))
        return "\n".join(told) or None

    def training(self) -> Loader[Documents]:
        return Loader(TrainingBatches(self._encoded(self._splits.training), self._batch_size, self._seed))

    def validation(self) -> Loader[Documents]:
        return self._evaluation(self._splits.validation)

    def test(self) -> Loader[Documents]:
        held = self._held["test"]
        if isinstance(held, list) and not self._sample_notice and self._fold is None:
            return self._evaluation(self._read(held))
        if self._splits.test is None:
            raise no_test_split("a share of the rows, or as files", self._held["validation"] != 0)
        return self._evaluation(self._splits.test)

    def _evaluation(self, rows: Sequence[LabelledRow]) -> Loader[Documents]:
        return Loader(EvaluationBatches(self._encoded(rows), self._evaluation_batch_size))

    def _encoded(self, rows: Sequence[LabelledRow]) -> DocumentSet:
        encoder = DocumentEncoder(self._assets)
        classes = {label: number for number, label in enumerate(self._assets["labels"])}
        for row in rows:
            if row.label not in classes:
                raise (self._stranger(row))
        return DocumentSet.of([encoder.encode(row.text).ids for row in rows], [classes[row.label] for row in rows])

    def _stranger(self, row: LabelledRow) -> DataError:
        known: list[str] = self._assets["labels"]
        near = get_close_matches(row.label, known, 1)
        guess = f"\ndid you mean '{near[0]}'?" if near else ""
        shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        return DataError(
            f"{row.place}: the label '{row.label}' does not occur in the training files; allowed are {shown}{guess}",
            advice="correct the label, or add texts with it to the training files",
        )

    def _look_for_training_files(self, when_missing: str) -> None:
        try:
            for name in self._training:
                self._path(name)
        except DataError as error:
            if when_missing == "error":
                raise
            self._use_sample(f"because the files are missing:\n{error}\n")

    def _use_sample(self, why: str) -> None:
        self._sample_notice = (
            f"NOT YOUR DATA: this uses the {labelled_topics.sample_name()}, some 2,000 sentences of Python's own "
            f"documentation and what they are about, {why}"
        )

    def _path(self, name: str) -> Path:
        path = find_file(self._root / Path(name).expanduser())
        if path is None:
            raise DataError(
                f"{name} (plain or .gz): not found in {self._root.absolute()}",
                advice="mend the name in the data section, or set data.root to the folder that has the file",
            )
        return path

    def _read(self, names: Sequence[str]) -> list[LabelledRow]:
        """The rows of some files, one after the other."""
        rows: list[LabelledRow] = []
        for name in names:
            file = scan_file(self._path(name))
            self._fingerprint[name] = file.sha256
            table = read_delimited(file)
            texts, labels, groups = (
                [""] * len(table.rows) if column is None else table.column(column, f"data.{option}")
                for option, column in self._columns.items()
            )
            for line, text, label, group in zip(table.lines, texts, labels, groups, strict=True):
                place = f"{file.path}, line {line}"
                if not label:
                    raise DataError(
                        f"{place}: the label ({self._columns['label']}) is empty",
                        advice="fill it in, or leave the row out",
                    )
                if not text.strip():
                    self._empty[place] = None
                rows.append(LabelledRow(text, label, group, place))
        return rows

    @cached_property
    def _splits(self) -> Splits:
        rows = self._sample_rows() if self._sample_notice else self._read(self._training)
        test_share, share = self._share("test"), self._share("validation")
        test: list[LabelledRow] | None = None
        if self._fold is not None or test_share:
            rows, test = self._divided(rows, "test", test_share)
        kept: list[LabelledRow] = []
        if share:
            rows, kept = self._divided(rows, "validation", share)
        elif isinstance(own := self._held["validation"], list):
            kept = self._read(own)
        return Splits(rows, kept, test)

    def _share(self, split: str) -> float:
        held = self._held[split]
        return held if isinstance(held, float) else 0.1 if self._sample_notice else 0.0

    def _sample_rows(self) -> list[LabelledRow]:
        sentences = labelled_topics.sample_sentences()
        content = "\n".join("\t".join(sentence) for sentence in sentences)
        self._fingerprint["sentences"] = hashlib.sha256(content.encode()).hexdigest()
        return [LabelledRow(text, label, group, f"sentence {n}") for n, (text, label, group) in enumerate(sentences)]

    def _divided(
        self, rows: Sequence[LabelledRow], split: str, share: float
    ) -> tuple[list[LabelledRow], list[LabelledRow]]:
        """The rows that stay, and those of a split. Raises DataError where a share makes no row, or all of them."""
        labels = numpy.unique([row.label for row in rows], return_inverse=True)[1]
        grouped = self._columns["group"] is not None or bool(self._sample_notice)
        names, groups = numpy.unique([row.group for row in rows], return_inverse=True)
        if split == "test" and self._fold is not None:
            kept = select_fold(len(rows), self._fold, self._seed, labels, groups if grouped else None)
        elif grouped:
            kept = held_out(torch.zeros(len(names)), share, False, self._seed, split).numpy()[groups]
        else:
            kept = held_out(torch.from_numpy(labels), share, True, self._seed, split).numpy()
        if not kept.any() or kept.all():
            of = f"{len(names)} groups of rows" if grouped else f"{len(rows)} rows"
            raise DataError(
                f"{', '.join(self._training)}: data.{split}={share} of {of} "
                f"{'leaves none to train on' if kept.any() else 'is none'}",
                advice=f"give another share, or 0 for no {split} split, or files",
            )
        pairs = list(zip(rows, kept.tolist(), strict=True))
        return [row for row, held in pairs if not held], [row for row, held in pairs if held]

    def _learn(self, cut: Tokenizer, max_tokens: int, min_count: int, max_vocabulary: int | None) -> Assets:
        splits = self._splits
        labels = {row.label for part in (splits.training, splits.test or ()) for row in part}
        if not isinstance(self._held["validation"], list):
            labels |= {row.label for row in splits.validation}
        if len(labels) < 2:
            raise DataError(
                f"{', '.join(self._training)}: all texts have the label '{next(iter(labels))}'; "
                f"a classification needs two labels or more",
                advice=f"look at the column '{self._columns['label']}', or set data.label to another one",
            )
        texts = (row.text for row in splits.training)
        words, unknown = learn_document_vocabulary(texts, cut, max_tokens, min_count, max_vocabulary)
        return {
            "dataset": self.name,
            "text": self._columns["text"],
            **cut._asdict(),
            "max_tokens": max_tokens,
            "words": words,
            "number": None,
            "end": END,
            "unknown": unknown,
            "labels": sorted(labels, key=_by_number),
        }


def _by_number(label: str) -> tuple[bool, int, str]:
    """Whole numbers first and by their size, then the other labels by code points."""
    whole = label.isascii() and label.removeprefix("-").isdigit()
    return not whole, int(label) if whole else 0, label
