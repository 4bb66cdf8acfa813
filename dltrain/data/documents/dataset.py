"""Texts with a label each, from your own tables."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy
from annotated_types import Ge

from dltrain.data.cleaning import FORM, clean_category, fold_text
from dltrain.data.contents import Hashes, describe_trained, hash_fields
from dltrain.data.delimited import read_delimited
from dltrain.data.documents import batches
from dltrain.data.documents.batches import DocumentCounts, DocumentEncoder, Documents, DocumentSet, Tokenizer
from dltrain.data.documents.folders import read_class_folders, require_texts
from dltrain.data.documents.rows import (
    SAMPLE,
    LabelledRow,
    Rows,
    check_labels,
    read_sample_rows,
    select_rows,
)
from dltrain.data.documents.summary import (
    describe_contradictions,
    describe_labels,
    describe_leaks,
    describe_losses,
    list_facts,
    list_treatments,
)
from dltrain.data.layout import Layout, Quoting, Separator, list_forms
from dltrain.data.sampling import Sampling, describe_classes
from dltrain.data.splits import hold_out_rows, select_fold
from dltrain.data.text.vocabulary import END
from dltrain.data.text_files import scan_file
from dltrain.data.wording import join_some, suggest_name
from dltrain.dataset import DataSummary, SplitName, SplitSummary, no_test_split
from dltrain.errors import DataError
from dltrain.options import BatchSize, FilePaths, Fold, FolderPath, Fraction, PositiveInt
from dltrain.registry import datasets
from dltrain.stream import Loader

SPLITS: Sequence[SplitName] = ("training", "validation", "test")

_NAMED = 3


class DocumentSplits(NamedTuple):
    """The rows of each split; `test` is None if it is no part of the training files."""

    training: Rows
    validation: Rows
    test: Rows | None


@datasets.register("labelled_text", data="documents")
class LabelledTexts:
    """Texts and their labels from .csv, .tsv or .jsonl files, plain or .gz, one text a row.

    The first line of a .csv or .tsv file names its columns; quoted fields may hold separators and line ends. Validation
    and test are separate files, or stratified shares of the training files' rows; with `group` they are shares of the
    groups instead. The vocabulary is that of the training texts. Every text ends with the token `<eos>`, so an empty
    one can be read too; empty texts are kept and reported.
    In place of a file a folder may be named, with a folder of .txt files for each class: FOLDER/CLASS/NAME.txt.
    Batches hold texts of similar lengths.

    Options:
        training: files to train on, or folders of the classes' folders.
        validation: share of the training files' rows, or files.
        test: share of the training files' rows, or files.
        root: folder that the file names are relative to.
        separator: what separates the fields of .csv and .tsv files: comma, semicolon, tab or pipe; auto finds it in the
            first rows of a .csv file, and reports it if it is not the comma.
        quoting: standard (a field in quotation marks may hold separators and line ends, RFC 4180), none (quotation
            marks are text), or auto: standard in .csv files, and in .tsv files all of whose marks quote fields.
        text: column with the texts.
        label: column with the labels.
        group: column whose equal values stay in one split, such as the author; null for none.
        weight: column with the weight of each text in the loss, a number from 0; null for none.
        fold: hold out this fold of a cross-validation as the test split, instead of `test`.
        unit: token unit: word or character.
        lowercase: read everything in lower case.
        punctuation: make each punctuation mark a separate word; false splits words at white space only.
        min_count: tokens less frequent than this in training become `<unk>`; default 2 for words and 1 for characters.
            Without `<unk>` unknown characters are left out.
        max_vocabulary: keep only this number of tokens, the most frequent, `<eos>` and `<unk>` included.
        max_tokens: longer texts are truncated to this number of tokens.
        missing_label: rows without a label are an error, or are dropped and counted.
        batch_size: texts in a training batch.
        sampling: shuffled (each training example once in an epoch) or balanced (each class equally often: an epoch is
            as long as before, examples of rare classes are repeated and those of common ones take turns).
        evaluation_batch_size: texts in a batch of validation and test.
        when_missing: if training files are missing, stop with an error, or use the Python sentences sample and say so.
        sample: use the Python sentences sample even if the files exist.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        training: FilePaths,
        validation: Fraction | FilePaths = 0.1,
        test: Fraction | FilePaths = 0.1,
        root: FolderPath = ".",
        separator: Separator = "auto",
        quoting: Quoting = "auto",
        text: str = "text",
        label: str = "label",
        group: str | None = None,
        weight: str | None = None,
        fold: Fold | None = None,
        unit: Literal["word", "character"] = "word",
        lowercase: bool = True,
        punctuation: bool = True,
        min_count: PositiveInt | None = None,
        max_vocabulary: Annotated[int, Ge(3)] | None = None,
        max_tokens: PositiveInt = 400,
        missing_label: Literal["error", "drop"] = "error",
        batch_size: BatchSize = 32,
        sampling: Sampling = "shuffled",
        evaluation_batch_size: PositiveInt = 128,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        self._seed, self._root, self._fold = seed, Path(root).expanduser(), fold
        self._training = training
        self._columns = {"text": text, "label": label, "group": group, "weight": weight}
        self._held: Mapping[str, float | list[str]] = {"validation": validation, "test": test}
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._sampling: Sampling = sampling
        self._empty: dict[str, None] = {}
        self._missing_label, self._unlabelled = missing_label, 0
        self._counts: dict[SplitName, DocumentCounts] = {}
        self._trained: str | None = None  # what is said of test texts that are training texts
        self._composed = assets is None or assets.get("unicode") == FORM  # runs of earlier versions read texts as is
        if quoting == "auto" and not self._composed:
            quoting = "none"
        self._layout = Layout(separator, quoting)
        self._forms: dict[str, tuple[str, int]] = {}
        self._sample_notice = SAMPLE.substitute(
            assets, sample, when_missing, check_files=lambda: require_texts(self._root, training)
        )
        self.name = SAMPLE.name if self._sample_notice else variant
        self.fingerprint: dict[str, str] = {}
        self.assets: Mapping[str, Any] = assets or {}
        if assets is None:
            tokenizer = Tokenizer(unit, lowercase, punctuation)
            self.assets = self._learn(tokenizer, max_tokens, min_count or (2 if unit == "word" else 1), max_vocabulary)

    @property
    def notice(self) -> str | None:
        notices = [self._sample_notice] if self._sample_notice else []
        if self._empty:
            notices.append(f"empty texts, read as {END} alone: {join_some(list(self._empty), _NAMED, '; ')}")
        if self._unlabelled:
            notices.append(f"{self._unlabelled} rows without a label are dropped")
        notices += describe_losses(self._counts, self.assets)
        if "training" in self._counts:
            notices += [*describe_labels(self.assets["labels"]), *describe_contradictions(self._splits.training)]
            notices += describe_leaks(self._splits.training)
        notices += [self._trained] if self._trained else []
        return "\n".join(notices) or None

    def training(self) -> Loader[Documents]:
        return batches.load_training(self._encode("training"), self._batch_size, self._seed, self._sampling)

    def validation(self) -> Loader[Documents]:
        return batches.load_evaluation(self._encode("validation"), self._evaluation_batch_size)

    def test(self) -> Loader[Documents]:
        documents, self._trained = self._encode("test"), self._describe_trained()
        return batches.load_evaluation(documents, self._evaluation_batch_size)

    def summarize(self) -> DataSummary:
        splits = []
        for split in SPLITS:
            own = self._list_own_files(split)
            files = (self.name,) if self._sample_notice else tuple(own or self._training)
            if own and split == "test" and "_test" not in vars(self):
                splits.append(SplitSummary(name=split, examples=None, files=files))
            elif split != "test" or own or self._splits.test is not None:
                rows = self._rows(split)
                found = Counter(row.label for row in rows)
                classes = {label: found[label] for label in self.assets["labels"]}
                splits.append(SplitSummary(name=split, examples=len(rows), files=files, classes=classes))
        return DataSummary(
            unit="texts",
            division=self._describe_division(),
            splits=tuple(splits),
            treatments=(
                *list_forms(self._forms),
                *list_treatments(self._counts, self.assets, empty=len(self._empty), unlabelled=self._unlabelled),
            ),
            facts=list_facts(self._counts, self.assets),
        )

    def identities(self, split: SplitName) -> Hashes:
        """The text and its label."""
        return hash_rows(self._rows(split))

    def _describe_trained(self) -> str | None:
        """Say how many test texts are training texts too, unless the training files are gone."""
        if not self._list_own_files("test"):
            return describe_trained(self.identities("test"), self.identities("training"), "texts")
        try:
            paths = require_texts(self._root, self._training)
            rows = [row for path in paths for row in self._read_one(path)[0]]
        except DataError:
            return None
        return describe_trained(self.identities("test"), hash_rows(rows), "texts")

    def show_raw(self, split: SplitName, indices: Sequence[int]) -> list[dict[str, str]]:
        """The text, the label, and the file and line of some rows."""
        rows = self._rows(split)
        return [{"text": rows[at].text, "label": rows[at].label, "from": rows[at].source} for at in indices]

    def name_examples(self, split: SplitName, indices: Sequence[int]) -> list[str]:
        """The file and line of some texts."""
        rows = self._rows(split)
        return [rows[at].source for at in indices]

    def _list_own_files(self, split: SplitName) -> list[str] | None:
        """Return the files that only this split is read from, or None if it is a part of the training files."""
        held = self._held.get(split)
        folded = split == "test" and self._fold is not None
        return held if isinstance(held, list) and not self._sample_notice and not folded else None

    def _rows(self, split: SplitName) -> Rows:
        """Return the rows of a split. Raises UsageError if there is no such split."""
        if split != "test":
            return self._splits.training if split == "training" else self._splits.validation
        return self._test

    @cached_property
    def _test(self) -> Rows:
        if own := self._list_own_files("test"):
            return self._read(own)
        if self._splits.test is None:
            raise no_test_split("a share of the rows, or as files", self._held["validation"] != 0)
        return self._splits.test

    def _encode(self, split: SplitName) -> DocumentSet:
        encoder, labels, rows = DocumentEncoder(self.assets), self.assets["labels"], self._rows(split)
        classes = {label: number for number, label in enumerate(labels)}
        for row in rows:
            if row.label not in classes:
                raise DataError(
                    f"{row.source}: the label '{row.label}' does not occur in the training files; allowed are "
                    f"{join_some(labels, 20)}{suggest_name(row.label, labels)}",
                    advice="correct the label, or add texts with it to the training files",
                )
        encoded = [encoder.encode(row.text) for row in rows]
        self._counts[split] = DocumentCounts.of(encoded)
        documents = DocumentSet.concatenate([one.ids for one in encoded], [classes[row.label] for row in rows])
        if weight := self.assets.get("weight"):
            weights = numpy.array([row.weight for row in rows]) / weight["mean"]
            return documents._replace(weights=weights.astype(numpy.float32))
        return documents

    def _read(self, names: Sequence[str]) -> list[LabelledRow]:
        rows: list[LabelledRow] = []
        for name, path in zip(names, require_texts(self._root, names), strict=True):
            found, self.fingerprint[name], form = self._read_one(path)
            if form is not None:
                self._forms[name] = form, len(found)
            if self._missing_label == "error":
                check_labels(found, str(self._columns["label"]))
            self._unlabelled += sum(not row.label for row in found)
            rows += [row for row in found if row.label]
        if not rows:
            raise DataError(f"{', '.join(names)}: no row has a label", advice="set data.label to another column")
        self._empty |= {row.source: None for row in rows if not row.text.strip()}
        return rows

    def _read_one(self, path: Path) -> tuple[list[LabelledRow], str, str | None]:
        """Read the rows of a table or of a folder, the SHA-256 of the content, and what is not usual of its form."""
        if path.is_dir():
            return (*read_class_folders(path), None)
        file = scan_file(path)
        table = read_delimited(file, layout=self._layout)
        return select_rows(table, self._columns, self._composed), file.sha256, table.form

    def _describe_division(self) -> str | None:
        if self._fold is not None:
            return f"fold {self._fold.index} of {self._fold.of} is the test split, drawn with seed {self._seed}"
        if all(isinstance(held, list) for held in self._held.values()):
            return None
        whole = f"whole groups of '{self._columns['group']}'" if self._columns["group"] else "stratified by label"
        return f"shares drawn with seed {self._seed}, {whole}"

    @cached_property
    def _splits(self) -> DocumentSplits:
        rows: Rows
        if self._sample_notice:
            rows = read_sample_rows()
            content = "\n".join("\t".join(row[:3]) for row in rows)
            self.fingerprint["sentences"] = hashlib.sha256(content.encode()).hexdigest()
        else:
            rows = self._read(self._training)
        shares = {
            split: held if isinstance(held, float) else 0.1 if self._sample_notice else 0.0
            for split, held in self._held.items()
        }
        test: Rows | None = None
        if self._fold is not None or shares["test"]:
            rows, test = self._divide(rows, "test", shares["test"])
        kept: Rows = []
        if shares["validation"]:
            rows, kept = self._divide(rows, "validation", shares["validation"])
        elif own := self._list_own_files("validation"):
            kept = self._read(own)
        return DocumentSplits(rows, kept, test)

    def _divide(self, rows: Rows, split: str, share: float) -> tuple[Rows, Rows]:
        """Return the rows that remain, and those of a split."""
        labels = numpy.unique([row.label for row in rows], return_inverse=True)[1]
        groups = None
        if self._columns["group"] is not None or self._sample_notice:
            groups = numpy.unique([row.group for row in rows], return_inverse=True)[1]
        if split == "test" and self._fold is not None:
            kept = select_fold(len(rows), self._fold, self._seed, labels=labels, groups=groups)
        else:
            source = ", ".join(self._training)
            kept = hold_out_rows(len(rows), share, self._seed, split=split, labels=labels, groups=groups, source=source)
        pairs = list(zip(rows, kept.tolist(), strict=True))
        return [row for row, held in pairs if not held], [row for row, held in pairs if held]

    def _learn(
        self, tokenizer: Tokenizer, max_tokens: int, min_count: int, max_vocabulary: int | None
    ) -> Mapping[str, Any]:
        splits = self._splits
        labels = {row.label for part in (splits.training, splits.test or ()) for row in part}
        if not isinstance(self._held["validation"], list):
            labels |= {row.label for row in splits.validation}
        if len(labels) < 2:
            raise DataError(
                f"{', '.join(self._training)}: all texts have the label '{next(iter(labels))}'; "
                f"a classification needs two labels or more",
                advice=f"check the column '{self._columns['label']}', or set data.label to another one",
            )
        words, unknown = batches.learn_document_vocabulary(
            (row.text for row in splits.training),
            tokenizer,
            max_tokens=max_tokens,
            min_count=min_count,
            max_vocabulary=max_vocabulary,
        )
        names = sorted(labels, key=_sort_key)
        places = {label: place for place, label in enumerate(names)}
        targets = numpy.array([places[row.label] for row in splits.training])
        return {
            "dataset": self.name,
            "text": self._columns["text"],
            "unicode": FORM,
            **tokenizer._asdict(),
            "max_tokens": max_tokens,
            "words": words,
            "number": None,
            "end": END,
            "unknown": unknown,
            "labels": names,
            **describe_classes(targets, len(names), self._sampling),
            **self._average_weights(),
            **self._layout.to_assets(),
        }

    def _average_weights(self) -> dict[str, Any]:
        """The column of weights and their mean over the training texts. Raises DataError where all are 0."""
        column = self._columns["weight"]
        if column is None or self._sample_notice:
            return {}
        mean = float(numpy.mean([row.weight for row in self._splits.training]))
        if mean == 0:
            message = f"{', '.join(self._training)}: all weights in column '{column}' are 0 in the training texts"
            raise DataError(message, advice="correct the column, or leave data.weight out")
        return {"weight": {"column": column, "mean": mean}}


def hash_rows(rows: Rows) -> Hashes:
    """Hash each text and its label; a text is the same in other case and with other white space."""
    return hash_fields((fold_text(row.text), clean_category(row.label)) for row in rows)


def _sort_key(label: str) -> tuple[bool, int, str]:
    """Order whole numbers first and by their size, then the other labels by code points."""
    whole = label.isascii() and label.removeprefix("-").isdigit()
    return not whole, int(label) if whole else 0, label
