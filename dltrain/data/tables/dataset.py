"""Base of the table datasets: learning from the training rows, splits, batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Annotated, Any, NamedTuple

import numpy
import torch
from annotated_types import MinLen
from numpy.typing import NDArray
from torch import Tensor

from dltrain.batch import Examples
from dltrain.data.batching import IndexedBatches
from dltrain.data.cleaning import clean_text
from dltrain.data.delimited import FOUND
from dltrain.data.layout import Layout, list_forms
from dltrain.data.numbers import AMBIGUOUS_ADVICE, Decimal, describe_ambiguous
from dltrain.data.sampling import Sampling, describe_classes, draw_examples
from dltrain.data.splits import Mask, hold_out_rows, select_fold
from dltrain.data.tables import columns
from dltrain.data.tables.columns import Roles
from dltrain.data.tables.date_parts import DateColumns, split_dates
from dltrain.data.tables.faults import check_faults
from dltrain.data.tables.features import (
    FeatureEncoder,
    describe_unknown,
    learn_features,
    name_inputs,
    restore_table_layout,
)
from dltrain.data.tables.files import Column, Table, format_texts
from dltrain.data.tables.formats import (
    Formats,
    convert_columns,
    find_doubtful,
    find_table_formats,
    keep_formats,
    restore_formats,
    restore_other_formats,
)
from dltrain.data.tables.identity import Hashes, hash_rows
from dltrain.data.tables.summary import (
    EncodedSplit,
    list_treatments,
    summarize_inputs,
    summarize_others,
    summarize_split,
)
from dltrain.data.wording import join_some
from dltrain.dataset import DataSummary, SplitName, SplitSummary, Treatment, no_test_split
from dltrain.errors import DataError, UsageError
from dltrain.options import Fold
from dltrain.stream import Loader

Texts = Annotated[list[str], MinLen(1)]
SPLITS: tuple[SplitName, ...] = ("training", "validation", "test")
_NAMED = 3
RowIndices = NDArray[numpy.int64]


@dataclass(frozen=True, kw_only=True)
class Division:
    """How a table is divided: the share or the files of "validation" and "test", and other options of these names."""

    shares: Mapping[str, float | Sequence[str]]
    stratified: bool
    fold: Fold | None


class RowSplits(NamedTuple):
    """Indices of rows in the training table, (N,) each; none for a split in a separate file."""

    training: RowIndices
    validation: RowIndices
    test: RowIndices


class TableDataset:
    """Base of the datasets of tables: features learned from the training rows, and the streams of the splits."""

    def __init__(
        self,
        name: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        roles: Roles,
        division: Division,
        batch_size: int | None,
        evaluation_batch_size: int,
        sampling: Sampling = "shuffled",
        needed: str | None = None,
        layout: Layout = FOUND,
        decimal: Decimal = "auto",
        dates: DateColumns = DateColumns(),
    ) -> None:
        self.name, self._seed, self._roles, self._division = name, seed, roles, division
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._sampling: Sampling = sampling
        self.fingerprint: dict[str, str] = {}
        self._encoded: dict[SplitName, EncodedSplit] = {}
        self._identities: dict[SplitName, Hashes] = {}
        self._dropped: dict[str, tuple[int, int]] = {}
        self._layout = layout if assets is None else restore_table_layout(assets, layout)
        self._decimal: Decimal = decimal
        self._dates = dates
        self._needed = needed
        self._formats: Formats | None = None
        if assets is not None:
            self._formats = restore_formats(assets["features"]) | restore_other_formats(assets)
        self._treatments: list[Treatment] = []
        self._doubtful: Mapping[str, str] = {}
        self._forms: dict[str, tuple[str, int]] = {}
        if assets is None:
            self._labels = columns.find_classes(self._table, roles, needed)
            self.assets: Mapping[str, Any] = keep_formats(self._learn(), self._formats or {})
        else:
            self._labels = assets.get("labels")
            self.assets = assets

    @property
    def notice(self) -> str | None:
        """Columns without information, and categories that only a later split has."""
        constant = [feature["name"] for feature in self.assets["features"] if feature["constant"]]
        notes = [describe_constant(constant)] if constant else []
        for split, encoded in self._encoded.items():
            notes += describe_unknown(encoded.unknown, f" of the {split} split")
        for source, (count, total) in self._dropped.items():
            notes.append(f"{source}: {count} of {total} rows have no target and were left out")
        return "; ".join(notes) or None

    @cached_property
    def _table(self) -> Table:
        """The training table, with the rows of the splits that have no separate file."""
        raise NotImplementedError

    def _read(self, files: Sequence[str]) -> Table:
        """Read the rows of some files, and add these to the fingerprint."""
        raise NotImplementedError

    def _prepare(self, table: Table) -> Table:
        """Note how the files were read, and leave out the rows without a target, counted, if the options say so."""
        self._forms |= {name: (form, len(table)) for name, form in table.forms.items()}
        if self._formats is None:
            table = split_dates(table, self._dates)
        known = self._formats is not None
        if self._formats is None:
            self._formats = self._find_formats(table)
        table = convert_columns(table, self._formats, known=known)
        if self._roles.missing_target == "error":
            return table
        missing = columns.find_unlabelled(table, self._roles.target)
        if missing.any():
            self._dropped[table.name] = int(missing.sum()), len(table)
        if missing.all():
            message = f"{table.name}: no row has a target in {', '.join(self._roles.target)}"
            raise DataError(message, advice="give rows with a target, or correct data.target")
        return table.select(~missing)

    def _find_formats(self, table: Table) -> Formats:
        """Find how the numbers of the training files are written. Raises DataError where a decimal mark is open."""
        found = find_table_formats(table, self._roles, self._decimal, self._needed)
        check_faults(table, self._roles, found, self._needed)
        if found.ambiguous:
            raise DataError(describe_ambiguous(table.name, found.ambiguous), advice=AMBIGUOUS_ADVICE)
        self._treatments = found.treatments
        self._doubtful = find_doubtful(table, found.formats) if self._decimal == "auto" else {}
        return found.formats

    def training(self) -> Loader[Examples]:
        return Loader(make_row_batches(self._encode("training"), self._batch_size, self._seed, self._sampling))

    def validation(self) -> Loader[Examples]:
        return self._evaluation("validation")

    def test(self) -> Loader[Examples]:
        if self._division.fold is None and self._division.shares["test"] == 0:
            raise no_test_split("a share of the rows, or as a file", self._division.shares["validation"] != 0)
        return self._evaluation("test")

    def identities(self, split: SplitName) -> Hashes:
        """Hash all values of each row of a split, (N,): see `hash_rows`. A file that is not read yet is read."""
        if split not in self._identities:
            self._read_split(split)
        return self._identities[split]

    def show_raw(self, split: SplitName, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The cells of some rows by column, those of ignored columns included."""
        table = self._read_split(split).select(numpy.array(indices, numpy.int64))
        found = {name: column for name, column in table.columns.items() if name not in table.derived}
        rows = zip(*(column.tolist() for column in found.values()), strict=True)
        return [dict(zip(found, cells, strict=True)) for cells in rows]

    def name_examples(self, split: SplitName, indices: Sequence[int]) -> list[str]:
        """FILE:LINE of some rows, or FILE:ROW of files without lines."""
        table = self._read_split(split)
        return [table.name_row(index) for index in indices]

    def summarize(self) -> DataSummary:
        """Summarise the splits read so far; those whose files are closed have no number of rows."""
        if "training" not in self._encoded:
            self.training()
        splits = []
        for split in SPLITS:
            files = self._name_files(split) or ()
            if split in self._encoded:
                splits.append(summarize_split(split, self._encoded[split], files, self._labels))
            elif files:
                splits.append(SplitSummary(name=split, examples=None, files=files))
            else:
                splits.append(SplitSummary(name=split, examples=len(getattr(self._splits, split))))
        features, training = self.assets["features"], self._encoded["training"]
        inputs = summarize_inputs(features, training)
        others = summarize_others(self._table.select(self._splits.training), self._roles, features, training)
        return DataSummary(
            unit="rows",
            division=self._describe_division(),
            splits=tuple(splits),
            columns=tuple(
                replace(column, facts={**column.facts, "maybe_thousands": self._doubtful[column.name]})
                if column.name in self._doubtful and column.kind == "numbers" and column.role != "ignored"
                else column
                for column in (*inputs, *others)
            ),
            treatments=(
                *list_forms(self._forms),
                *self._treatments,
                *self._list_dropped(),
                *list_treatments(features, self._encoded),
            ),
        )

    def _list_dropped(self) -> list[Treatment]:
        return [
            Treatment(what=f"{source}: no target; left out", count=count, total=total, option="data.missing_target")
            for source, (count, total) in self._dropped.items()
        ]

    def _describe_division(self) -> str | None:
        division, group = self._division, self._roles.group
        drawn = f"drawn with seed {self._seed}" + (f", rows of the same '{group}' together" if group else "")
        if division.fold is not None:
            return f"fold {division.fold.index + 1} of {division.fold.of}, {drawn}"
        shares = [share for share in division.shares.values() if isinstance(share, float) and share]
        return f"shares {drawn}" if shares else None

    def _name_files(self, split: SplitName) -> tuple[str, ...] | None:
        """Return the files of a split's own; None for a share of the training table."""
        files = self._division.shares.get(split)
        folded = split == "test" and self._division.fold is not None
        return None if files is None or isinstance(files, float) or folded else tuple(files)

    def _read_split(self, split: SplitName) -> Table:
        """Read the rows of a split, and keep their hashes."""
        files = self._name_files(split)
        table = self._table.select(getattr(self._splits, split)) if files is None else self._read(files)
        self._identities[split] = hash_rows(table)
        return table

    def _evaluation(self, split: SplitName) -> Loader[Examples]:
        return Loader(make_row_batches(self._encode(split), self._evaluation_batch_size))

    def _encode(self, split: SplitName) -> Examples:
        """Encode all rows: inputs (N, F) float32, targets and weights."""
        encoder, table = FeatureEncoder(self.assets["features"]), self._read_split(split)
        inputs = torch.from_numpy(encoder.inputs(table))
        rows = Examples(inputs, self._encode_targets(table), self._encode_weights(table))
        self._encoded[split] = EncodedSplit(rows=rows, replaced=encoder.replaced, unknown=encoder.unknown)
        return rows

    def _encode_targets(self, table: Table) -> Tensor:
        """Encode targets: (N, K) float32 for numbers, (N,) int64 for labels."""
        target = self.assets["target"]
        names = [clean_text(name) for name in target["columns"]]
        if self._labels is not None:
            return torch.from_numpy(columns.encode_labels(table, names[0], self._labels))
        numbers = columns.read_targets(table, names)
        if target["normalize"] == "none":
            return torch.from_numpy(numbers.astype(numpy.float32))
        scales = zip(names, numbers.T, target["mean"], target["std"], strict=True)
        scaled = [columns.standardize_column(table, name, part, mean=mean, std=std) for name, part, mean, std in scales]
        return torch.from_numpy(numpy.stack(scaled, 1))

    def _encode_weights(self, table: Table) -> Tensor | None:
        """Encode the rows' weights in units of the training rows' mean, (N,) float32."""
        if (weight := self.assets.get("weight")) is None:
            return None
        return torch.from_numpy((columns.read_weights(table, weight["column"]) / weight["mean"]).astype(numpy.float32))

    @cached_property
    def _splits(self) -> RowSplits:
        table, roles, division = self._table, self._roles, self._division
        roles.select_inputs(table)  # checks that all named columns exist
        labels = None if self._labels is None else columns.encode_labels(table, roles.target[0], self._labels)
        groups = None if roles.group is None else format_texts(table.columns[roles.group])
        strata = labels if division.stratified else None
        rows = numpy.arange(len(table))
        if division.fold is None:
            tested = self._hold_out("test", rows, strata, groups)
        else:
            tested = select_fold(len(rows), division.fold, self._seed, labels=strata, groups=groups)
        rest = rows[~tested]
        kept = self._hold_out("validation", rest, strata, groups)
        return RowSplits(rest[~kept], rest[kept], rows[tested])

    def _hold_out(self, split: str, rows: RowIndices, strata: RowIndices | None, groups: Column | None) -> Mask:
        """Select the rows kept for a split, (N,); none for a split in a separate file."""
        share = self._division.shares[split]
        if not isinstance(share, float) or share == 0:
            return numpy.zeros(len(rows), bool)
        return hold_out_rows(
            len(rows),
            share,
            self._seed,
            split=split,
            labels=None if strata is None else strata[rows],
            groups=None if groups is None else groups[rows],
            source=self._table.name,
        )

    def _learn(self) -> Mapping[str, Any]:
        table, training, roles = self._table, self._splits.training, self._roles
        features = learn_features(table, training, roles)
        learned: dict[str, Any] = {"dataset": self.name, "features": features, "inputs": name_inputs(features)}
        learned |= self._layout.to_assets()
        if roles.weight is not None:
            learned["weight"] = {"column": roles.weight, "mean": self._average_weights(roles.weight)}
        target: dict[str, Any] = {"columns": list(roles.target)}
        if self._labels is None:
            if self._sampling == "balanced":
                raise UsageError(
                    f"data.sampling: balanced draws classes equally often, but the target {', '.join(roles.target)} "
                    "holds numbers",
                    advice="leave data.sampling out, or set data.target_holds: labels",
                )
            numbers = columns.read_targets(table, roles.target)[training]
            for name, column in zip(roles.target, numbers.T, strict=True):
                if column.min() == column.max():
                    raise DataError(
                        f"{table.name}: the target '{name}' is {column[0]:g} in all {len(column)} training rows; "
                        "there is nothing to learn",
                        advice="give more rows, or another target",
                    )
            mean, std = numbers.mean(0).tolist(), [columns.measure_deviation(column) for column in numbers.T]
            return {**learned, "target": {**target, "normalize": roles.normalize_target, "mean": mean, "std": std}}
        codes = columns.encode_labels(table, roles.target[0], self._labels)[training]
        if len(set(codes.tolist())) < 2:
            raise DataError(
                f"{table.name}: all {len(codes)} training rows have the label '{self._labels[codes[0]]}' in column "
                f"'{roles.target[0]}'; a classification needs two labels or more",
                advice="give more rows, or another target",
            )
        classes = describe_classes(codes, len(self._labels), self._sampling)
        return {**learned, "target": target, "labels": list(self._labels), **classes}

    def _average_weights(self, name: str) -> float:
        """Average the training rows' weights. Raises DataError where all are 0."""
        mean = float(columns.read_weights(self._table, name)[self._splits.training].mean())
        if mean == 0:
            message = f"{self._table.name}: all weights in column '{name}' are 0 in the training rows"
            raise DataError(message, advice="correct the column, or leave data.weight out")
        return mean


def describe_constant(names: Sequence[str]) -> str:
    """Describe columns without information: up to three by name, and how many more."""
    if len(names) == 1:
        return f"column '{names[0]}' is the same in all training rows, so it carries no information"
    some = join_some([repr(name) for name in names], _NAMED)
    return f"columns {some} are the same in all training rows, so they carry no information"


def make_row_batches(
    rows: Examples, batch_size: int | None, seed: int | None = None, sampling: Sampling = "shuffled"
) -> IndexedBatches[Examples]:
    """Batch rows, or use all as one batch; with `seed`, sampled as a function of (seed, epoch, index)."""
    count = rows.count

    def make(epoch: int, chosen: Tensor) -> Examples:
        weights = None if rows.weights is None else rows.weights.index_select(0, chosen)
        return Examples(rows.inputs.index_select(0, chosen), rows.targets.index_select(0, chosen), weights)

    if batch_size is None and sampling == "shuffled":
        return IndexedBatches(count, count, lambda epoch, chosen: rows)
    if seed is None:
        return IndexedBatches(count, batch_size or count, make)
    order = partial(draw_examples, sampling, rows.targets, seed)
    return IndexedBatches(count, batch_size or count, make, order, join_single=True)
