"""Tables: rows of numbers and categories, from files of the user's own or as scikit-learn ships them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy
import torch
from annotated_types import MinLen
from numpy.typing import NDArray
from torch import Tensor

from dltrain.batch import Examples
from dltrain.data.images.mnist import held_out
from dltrain.data.splits import select_fold
from dltrain.data.tables.columns import (
    FeatureEncoder,
    Holds,
    Roles,
    encode_labels,
    find_classes,
    learn_features,
    measure_deviation,
    name_inputs,
    read_targets,
    standardize_column,
)
from dltrain.data.tables.files import Column, Table, build_table, format_texts, join_tables, read_table
from dltrain.dataset import no_test_split
from dltrain.errors import DataError, UsageError
from dltrain.options import Fold, Fraction, PositiveInt
from dltrain.registry import datasets
from dltrain.runtime.seeds import permutation
from dltrain.stream import Loader

Assets = Mapping[str, Any]
Texts = Annotated[list[str], MinLen(1)]
Values = dict[str, list[float | str]]
Rows = NDArray[numpy.int64]


@dataclass(frozen=True)
class Division:
    """What a table's rows are divided into: shares, or files of their own. The options of the same names."""

    validation: float | Sequence[str]
    test: float | Sequence[str]
    stratified: bool
    fold: Fold | None


class Splits(NamedTuple):
    """Places of rows in the training table, (N,) each; none for a split that is a file of its own."""

    training: Rows
    validation: Rows
    test: Rows


class TableDataset:
    """What the datasets of tables share: what is learned from the training rows, and the streams of the splits."""

    def __init__(
        self,
        seed: int,
        assets: Assets | None,
        roles: Roles,
        division: Division,
        batch_size: int | None,
        evaluation_batch_size: int,
    ) -> None:
        self._seed, self._roles, self._division = seed, roles, division
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._fingerprint: dict[str, str] = {}
        self._unknown: list[str] = []
        if assets is None:
            self._labels = find_classes(self._table, roles)
            self._assets = self._learn()
        else:
            self._labels = assets.get("labels")
            self._assets = assets

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def assets(self) -> Assets:
        return self._assets

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    @property
    def notice(self) -> str | None:
        """Columns that tell the model nothing, and categories that only a later split has."""
        constant = [feature["name"] for feature in self._assets["features"] if feature["constant"]]
        told = [f"column '{name}' is the same in all training rows, so it tells nothing" for name in constant]
        return "; ".join([*told, *self._unknown]) or None

    @cached_property
    def _table(self) -> Table:
        """The table that is trained on, with the rows of the splits that have no file of their own."""
        raise NotImplementedError

    def _read(self, files: Sequence[str]) -> Table:
        """The rows of some files, which belong to the fingerprint from then on."""
        raise NotImplementedError

    def training(self) -> Loader[Examples]:
        rows = self._encoded(self._table.only(self._splits.training))
        return Loader(TrainingRows(*rows, self._batch_size, self._seed))

    def validation(self) -> Loader[Examples]:
        files = self._division.validation
        table = self._table.only(self._splits.validation) if isinstance(files, float) else self._read(files)
        return self._evaluation(table)

    def test(self) -> Loader[Examples]:
        files, fold = self._division.test, self._division.fold
        if fold is None and not isinstance(files, float):
            return self._evaluation(self._read(files))
        if fold is None and files == 0:
            raise no_test_split("a share of the rows, or as a file", self._division.validation != 0)
        return self._evaluation(self._table.only(self._splits.test))

    def _evaluation(self, table: Table) -> Loader[Examples]:
        return Loader(EvaluationRows(*self._encoded(table), self._evaluation_batch_size))

    def _encoded(self, table: Table) -> tuple[Tensor, Tensor]:
        """Inputs (N, F) float32 and targets: (N, K) float32 for numbers, (N,) int64 for labels."""
        encoder, target = FeatureEncoder(self._assets["features"]), self._assets["target"]
        inputs = torch.from_numpy(encoder.inputs(table))
        self._unknown += [note for note in encoder.notes() if note not in self._unknown]
        if self._labels is not None:
            return inputs, torch.from_numpy(encode_labels(table, target["columns"][0], self._labels))
        numbers = read_targets(table, target["columns"])
        if target["normalize"] == "none":
            return inputs, torch.from_numpy(numbers.astype(numpy.float32))
        scales = zip(target["columns"], numbers.T, target["mean"], target["std"], strict=True)
        return inputs, torch.from_numpy(numpy.stack([standardize_column(table, *scale) for scale in scales], 1))

    @cached_property
    def _splits(self) -> Splits:
        table, roles, division = self._table, self._roles, self._division
        roles.inputs(table)  # all columns that are named are there
        labels = None if self._labels is None else encode_labels(table, roles.target[0], self._labels)
        groups = None if roles.group is None else format_texts(table.columns[roles.group])
        strata = labels if division.stratified else None
        rows = numpy.arange(len(table))
        if division.fold is None:
            tested = self._held_out("test", rows, strata, groups)
        else:
            tested = select_fold(len(rows), division.fold, self._seed, strata, groups)
        rest = rows[~tested]
        kept = self._held_out("validation", rest, strata, groups)
        return Splits(rest[~kept], rest[kept], rows[tested])

    def _held_out(self, split: str, rows: Rows, strata: Rows | None, groups: Column | None) -> NDArray[numpy.bool_]:
        """Which of some rows are kept for a split, (N,); with groups, whole ones. None for a split that is a file.

        Raises DataError where a share above 0 makes no row, or all of them.
        """
        share = getattr(self._division, split)
        if not isinstance(share, float) or share == 0:
            return numpy.zeros(len(rows), bool)
        if groups is not None:
            names, places = numpy.unique(groups[rows], return_inverse=True)
            kept = held_out(torch.zeros(len(names)), share, False, self._seed, split).numpy()[places]
        elif strata is not None:
            kept = held_out(torch.from_numpy(strata[rows]), share, True, self._seed, split).numpy()
        else:
            kept = held_out(torch.zeros(len(rows)), share, False, self._seed, split).numpy()
        if not kept.any() or kept.all():
            what = "is no row" if not kept.any() else "leaves none to train on"
            of = f"{len(rows)} rows" if groups is None else f"{len(names)} groups of rows"
            raise DataError(
                f"{self._table.name}: data.{split}={share} of {of} {what}",
                advice=f"give another share, or 0 for no {split} split, or a file",
            )
        return kept

    def _learn(self) -> Assets:
        table, training, roles = self._table, self._splits.training, self._roles
        features = learn_features(table, training, roles)
        learned: dict[str, Any] = {"dataset": self.name, "features": features, "inputs": name_inputs(features)}
        target: dict[str, Any] = {"columns": list(roles.target)}
        if self._labels is None:
            numbers = read_targets(table, roles.target)[training]
            self._check_varied(numbers)
            mean, std = numbers.mean(0).tolist(), [measure_deviation(column) for column in numbers.T]
            return {**learned, "target": {**target, "normalize": roles.normalize_target, "mean": mean, "std": std}}
        codes = encode_labels(table, roles.target[0], self._labels)[training]
        if len(set(codes.tolist())) < 2:
            raise DataError(
                f"{table.name}: all {len(codes)} training rows have the label '{self._labels[codes[0]]}' in column "
                f"'{roles.target[0]}'; telling labels apart takes two",
                advice="give more rows, or another target",
            )
        return {**learned, "target": target, "labels": list(self._labels)}

    def _check_varied(self, numbers: NDArray[numpy.float64]) -> None:
        for name, column in zip(self._roles.target, numbers.T, strict=True):
            if column.min() == column.max():
                raise DataError(
                    f"{self._table.name}: the target '{name}' is {column[0]:g} in all {len(column)} training rows; "
                    "there is nothing to learn",
                    advice="give more rows, or another target",
                )


@datasets.register("table", data="table")
class TableFiles(TableDataset):
    """A table of your own, a row for each example: .csv, .tsv and .jsonl files (plain or .gz), .parquet or .npz.

    Columns are found by the names in the first line (of an .npz, the names of its arrays). A column of numbers is one
    input. A column of texts is an input for each text that the training rows hold, 1 for the row's own and 0 for the
    others; a text that only validation or test hold is named, and 0 in all of them. Columns are brought to zero mean
    and unit variance by the training rows, and so is a target of numbers: reports and predictions are in its own units
    all the same. What stands for a missing number: nothing, NA, N/A, NaN, null, None, ?.

    Options:
        training: file or files to train on; not with values.
        values: the table itself, such as {x: [1, 2, 3], y: [2, 4, 6]}; not with training.
        validation: share of the rows that are not test, or a file or files.
        test: share of the rows of the training files, or a file or files.
        root: folder that the files' names start from.
        target: column to predict; several, if they hold numbers.
        target_holds: numbers or labels; auto takes texts and columns of nothing but 0 and 1 for labels, other numbers
            for numbers.
        features: columns to predict from; all others when not given.
        ignore: columns to leave out, where features are not given.
        categorical: columns that hold categories, numbers as well; the columns of texts when not given.
        group: column whose equal values stay in one split, such as the patient; it is no feature.
        missing: stop at a missing value, or put the training rows' mean for it (for a category, none).
        normalize: standard (zero mean and unit variance over the training rows) or none, for columns of numbers.
        normalize_target: the same for targets that are numbers.
        stratified: keep the labels' shares equal in the splits; without groups.
        fold: hold out this part of a cross-validation as the test split, instead of what `test` says.
        batch_size: rows in a training batch; null for all of them.
        evaluation_batch_size: rows in a batch of validation and test.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        training: str | Texts | None = None,
        values: Values | None = None,
        validation: Fraction | str | Texts = 0.2,
        test: Fraction | str | Texts = 0.2,
        root: str = ".",
        target: str | Texts,
        target_holds: Literal["auto", "numbers", "labels"] = "auto",
        features: Texts | None = None,
        ignore: Texts | None = None,
        categorical: list[str] | None = None,
        group: str | None = None,
        missing: Literal["error", "mean"] = "error",
        normalize: Literal["standard", "none"] = "standard",
        normalize_target: Literal["standard", "none"] = "standard",
        stratified: bool = True,
        fold: Fold | None = None,
        batch_size: PositiveInt | None = 32,
        evaluation_batch_size: PositiveInt = 1024,
    ) -> None:
        if (training is None) == (values is None):
            raise UsageError(
                "data: a table is either files (training) or its columns (values); "
                f"{'both are' if training else 'neither is'} given",
                advice="give one of the two",
            )
        self._files, self._values = _listed(training or ()), values
        self._root = Path(root).expanduser()
        roles = Roles(
            _listed(target),
            target_holds,
            None if features is None else tuple(features),
            tuple(ignore or ()),
            None if categorical is None else tuple(categorical),
            group,
            missing,
            normalize,
            normalize_target,
        )
        division = Division(
            validation if isinstance(validation, float) else _listed(validation),
            test if isinstance(test, float) else _listed(test),
            stratified,
            fold,
        )
        super().__init__(seed, assets, roles, division, batch_size, evaluation_batch_size)

    @property
    def name(self) -> str:
        return " + ".join(Path(file).name for file in self._files) or "values of the config"

    @cached_property
    def _table(self) -> Table:
        if self._values is None:
            return self._read(self._files)
        table = build_table(self._values, "data.values")
        self._fingerprint[table.name] = table.sha256
        return table

    def _read(self, files: Sequence[str]) -> Table:
        tables = [read_table(self._root / Path(file).expanduser()) for file in files]
        self._fingerprint |= {file: table.sha256 for file, table in zip(files, tables, strict=True)}
        return join_tables(tables)


def _listed(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


TARGETS = {"iris": "species", "wine": "cultivar", "breast_cancer": "diagnosis", "diabetes": "progression"}
"""What the target of each table that scikit-learn ships is called here."""


@datasets.register("bundled_table", data="table")
class BundledTable(TableDataset):
    """Real measurements that come with scikit-learn: nothing is downloaded.

    `iris`: 150 flowers of three species (Fisher 1936). `wine`: 178 wines of three cultivars. `breast_cancer`: 569
    tumours, malignant or benign (Wolberg et al. 1993). `diabetes`: how far a disease went in 442 patients within a
    year, a number from 25 to 346 (Efron et al. 2004). There is no official test split: `test` and `validation` are
    shares drawn by the seed.

    Options:
        table: which one.
        features: columns to predict from; all of them when not given.
        validation: share of the rows that are not test.
        test: share of all rows.
        normalize: standard (zero mean and unit variance over the training rows) or none.
        normalize_target: the same for the target of diabetes.
        stratified: keep the labels' shares equal in the splits.
        fold: hold out this part of a cross-validation as the test split, instead of what `test` says.
        batch_size: rows in a training batch; null for all of them.
        evaluation_batch_size: rows in a batch of validation and test.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        table: Literal["iris", "wine", "breast_cancer", "diabetes"],
        features: Texts | None = None,
        validation: Fraction = 0.2,
        test: Fraction = 0.2,
        normalize: Literal["standard", "none"] = "standard",
        normalize_target: Literal["standard", "none"] = "standard",
        stratified: bool = True,
        fold: Fold | None = None,
        batch_size: PositiveInt | None = 32,
        evaluation_batch_size: PositiveInt = 1024,
    ) -> None:
        self._bundled = table
        holds: Holds = "numbers" if table == "diabetes" else "labels"
        roles = Roles(
            (TARGETS[table],),
            holds,
            None if features is None else tuple(features),
            normalize=normalize,
            normalize_target=normalize_target,
        )
        division = Division(validation, test, stratified, fold)
        super().__init__(seed, assets, roles, division, batch_size, evaluation_batch_size)

    @property
    def name(self) -> str:
        return f"{self._bundled} (scikit-learn)"

    @cached_property
    def _table(self) -> Table:
        table = load_bundled_table(self._bundled)
        self._fingerprint[table.name] = table.sha256
        return table


def load_bundled_table(name: str) -> Table:
    """A table of TARGETS, its target last; diabetes as it was measured, not scaled."""
    from sklearn import datasets as bundled

    options = {"scaled": False} if name == "diabetes" else {}
    found = getattr(bundled, f"load_{name}")(**options)
    columns = {str(column): values for column, values in zip(found.feature_names, found.data.T, strict=True)}
    target = found.target if name == "diabetes" else found.target_names.astype(object)[found.target]
    content = hashlib.sha256(found.data.tobytes() + found.target.tobytes())
    return Table(name, {**columns, TARGETS[name]: target}, content.hexdigest())


@dataclass
class TrainingRows:
    """Shuffled batches, or all rows as one: a function of (seed, epoch, index)."""

    inputs: Tensor
    targets: Tensor
    batch_size: int | None
    seed: int

    def __post_init__(self) -> None:
        self._order = (-1, torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        whole, left = divmod(len(self.targets), self.batch_size or len(self.targets))
        # Batch normalisation cannot learn from one example: a single one left over joins the batch before it.
        return max(1, whole + (left > 1))

    def batch(self, epoch: int, index: int) -> Examples:
        if self.batch_size is None:
            return Examples(self.inputs, self.targets)
        end = (index + 1) * self.batch_size if index < len(self) - 1 else None
        chosen = self._order_of(epoch)[index * self.batch_size : end]
        return Examples(self.inputs.index_select(0, chosen), self.targets.index_select(0, chosen))

    def _order_of(self, epoch: int) -> Tensor:
        known, order = self._order
        if known != epoch:
            order = permutation(self.seed, epoch, len(self.targets))
            self._order = (epoch, order)
        return order


@dataclass
class EvaluationRows:
    """Batches in the order of the table, the same in every epoch."""

    inputs: Tensor
    targets: Tensor
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.targets) // self.batch_size)

    def batch(self, epoch: int, index: int) -> Examples:
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return Examples(self.inputs[chosen], self.targets[chosen])
