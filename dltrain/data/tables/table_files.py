"""Tables from your own files, written in the config, or shipped with scikit-learn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dltrain.data.cleaning import clean_text
from dltrain.data.dates import DateOrder
from dltrain.data.layout import Layout, Quoting, Separator
from dltrain.data.numbers import Decimal
from dltrain.data.sampling import Sampling
from dltrain.data.tables.columns import Roles
from dltrain.data.tables.dataset import Division, TableDataset, Texts
from dltrain.data.tables.date_parts import DateColumns, DatePart
from dltrain.data.tables.files import Table, build_table, join_tables, read_table
from dltrain.errors import UsageError
from dltrain.options import BatchSize, FilePath, FilePaths, Fold, FolderPath, Fraction, PositiveInt
from dltrain.registry import datasets

Values = dict[str, list[float | str]]


@datasets.register("table", data="table")
class TableFiles(TableDataset):
    """Your own table, a row for each example: .csv, .tsv and .jsonl files (plain or .gz), .parquet or .npz.

    Columns have the names in the first line (in an .npz, the names of the arrays). A column of numbers is one input. A
    column of texts becomes one input for each text in the training rows, 1 for the row's own text and 0 for the others;
    a text found only in validation or test is reported, and 0 in all of them. Columns are standardised to zero mean and
    unit variance over the training rows, and so is a numeric target; reports and predictions are in its own units. A
    missing number is empty, or NA, N/A, NaN, null, None or ?.

    Options:
        training: file or files to train on; not with values.
        values: the table itself, such as {x: [1, 2, 3], y: [2, 4, 6]}; not with training.
        validation: share of the rows that are not test, or a file or files.
        test: share of the rows of the training files, or a file or files.
        root: folder that the file names are relative to.
        separator: what separates the fields of .csv and .tsv files: comma, semicolon, tab or pipe; auto finds it in the
            first rows of a .csv file, and reports it if it is not the comma.
        quoting: standard (a field in quotation marks may hold separators and line ends, RFC 4180), none (quotation
            marks are text), or auto: standard in .csv files, and in .tsv files all of whose marks quote fields.
        decimal: decimal mark of numbers that are written with separators or signs, such as 1,234.50 or 2,5 or 1.234 €
            or 12% (0.12): point or comma. Auto finds it column by column, and reports it; it is an error if a file does
            not show whether 1,234 is 1234.
        target: column to predict; several, if they hold numbers.
        target_holds: numbers or labels; auto treats texts and columns of only 0 and 1 as labels, others as numbers;
            for a classification task whole numbers are labels too.
        features: columns to predict from; default all others.
        ignore: columns to leave out, if features are not given.
        categorical: columns that hold categories, even as numbers; default the columns of texts.
        dates: columns of dates, each replaced by its parts, such as "sold year" and "sold weekday": years, days and the
            days since 1970 are numbers, the others categories; dates are written as 2024-03-31, 31.03.2024, 03/31/2024
            or 31 March 2024, with or without a time of day, which is read as written, whatever its zone.
        date_order: what dates such as 03/04/2024 start with; auto finds it column by column, and it is an error if a
            column does not show it.
        date_parts: the parts to read; default those that differ in the training files.
        group: column whose equal values stay in one split, such as the patient; it is not a feature.
        weight: column with the weight of each row in the loss, a number from 0; it is not a feature.
        missing: stop at a missing value, or replace it by the training rows' mean (no category, for texts).
        missing_target: stop at a row without a target, or leave such rows out, counted.
        normalize: standard (zero mean and unit variance over the training rows) or none, for columns of numbers.
        normalize_target: the same for numeric targets.
        stratified: keep the labels' shares equal in the splits; without groups.
        fold: hold out this fold of a cross-validation as the test split, instead of `test`.
        batch_size: rows in a training batch; null for all of them.
        sampling: shuffled (each training example once in an epoch) or balanced (each class equally often: an epoch is
            as long as before, examples of rare classes are repeated and those of common ones take turns).
        evaluation_batch_size: rows in a batch of validation and test.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        target_kind: str | None = None,
        *,
        training: FilePath | FilePaths | None = None,
        values: Values | None = None,
        validation: Fraction | FilePath | FilePaths = 0.2,
        test: Fraction | FilePath | FilePaths = 0.2,
        root: FolderPath = ".",
        separator: Separator = "auto",
        quoting: Quoting = "auto",
        decimal: Decimal = "auto",
        target: str | Texts,
        target_holds: Literal["auto", "numbers", "labels"] = "auto",
        features: Texts | None = None,
        ignore: Texts | None = None,
        categorical: list[str] | None = None,
        dates: Texts | None = None,
        date_order: DateOrder | Literal["auto"] = "auto",
        date_parts: list[DatePart] | None = None,
        group: str | None = None,
        weight: str | None = None,
        missing: Literal["error", "mean"] = "error",
        missing_target: Literal["error", "drop"] = "error",
        normalize: Literal["standard", "none"] = "standard",
        normalize_target: Literal["standard", "none"] = "standard",
        stratified: bool = True,
        fold: Fold | None = None,
        batch_size: BatchSize | None = 32,
        sampling: Sampling = "shuffled",
        evaluation_batch_size: PositiveInt = 1024,
    ) -> None:
        if (training is None) == (values is None):
            raise UsageError(
                "data: a table is either files (training) or its columns (values); "
                f"{'both are' if training else 'neither is'} given",
                advice="give one of the two",
            )
        self._files, self._values = _as_tuple(training or ()), values
        self._root, layout = Path(root).expanduser(), Layout(separator, quoting)
        roles = Roles(
            target=_clean_names(target),
            target_holds=target_holds,
            features=None if features is None else _clean_names(features),
            ignore=_clean_names(ignore or ()),
            categorical=None if categorical is None else _clean_names(categorical),
            group=None if group is None else clean_text(group),
            weight=None if weight is None else clean_text(weight),
            missing=missing,
            missing_target=missing_target,
            normalize=normalize,
            normalize_target=normalize_target,
            dates=_clean_names(dates or ()),
        )
        shares = {
            split: share if isinstance(share, float) else _as_tuple(share)
            for split, share in (("validation", validation), ("test", test))
        }
        super().__init__(
            " + ".join(Path(file).name for file in self._files) or "values of the config",
            seed,
            assets,
            roles=roles,
            division=Division(shares=shares, stratified=stratified, fold=fold),
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
            sampling=sampling,
            needed=target_kind,
            layout=layout,
            decimal=decimal,
            dates=DateColumns(roles.dates, date_order, date_parts),
        )

    @cached_property
    def _table(self) -> Table:
        if self._values is None:
            return self._read(self._files)
        table = build_table(self._values, "data.values")
        self.fingerprint[table.name] = table.sha256
        return self._prepare(table)

    def _read(self, files: Sequence[str]) -> Table:
        tables = [read_table(self._root / Path(file).expanduser(), layout=self._layout) for file in files]
        self.fingerprint |= {file: table.sha256 for file, table in zip(files, tables, strict=True)}
        return self._prepare(join_tables(tables))


def _as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _clean_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Clean columns' names as those of a table are."""
    return tuple(map(clean_text, _as_tuple(names)))


TARGETS = {"iris": "species", "wine": "cultivar", "breast_cancer": "diagnosis", "diabetes": "progression"}
"""The target of each table that scikit-learn ships."""


@datasets.register("bundled_table", data="table")
class BundledTable(TableDataset):
    """Real measurements that come with scikit-learn, without download.

    `iris`: 150 flowers of three species (Fisher 1936). `wine`: 178 wines of three cultivars. `breast_cancer`: 569
    tumours, malignant or benign (Wolberg et al. 1993). `diabetes`: disease progression of 442 patients within a
    year, a number from 25 to 346 (Efron et al. 2004). There is no official test split: `test` and `validation` are
    shares drawn by the seed.

    Options:
        table: name of the table.
        features: columns to predict from; default all of them.
        validation: share of the rows that are not test.
        test: share of all rows.
        normalize: standard (zero mean and unit variance over the training rows) or none.
        normalize_target: the same for the target of diabetes.
        stratified: keep the labels' shares equal in the splits.
        fold: hold out this fold of a cross-validation as the test split, instead of `test`.
        batch_size: rows in a training batch; null for all of them.
        sampling: shuffled (each training example once in an epoch) or balanced (each class equally often: an epoch is
            as long as before, examples of rare classes are repeated and those of common ones take turns).
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
        batch_size: BatchSize | None = 32,
        sampling: Sampling = "shuffled",
        evaluation_batch_size: PositiveInt = 1024,
    ) -> None:
        self._bundled = table
        roles = Roles(
            target=(TARGETS[table],),
            target_holds="numbers" if table == "diabetes" else "labels",
            features=features,
            normalize=normalize,
            normalize_target=normalize_target,
        )
        super().__init__(
            f"{table} (scikit-learn)",
            seed,
            assets,
            roles=roles,
            division=Division(shares={"validation": validation, "test": test}, stratified=stratified, fold=fold),
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
            sampling=sampling,
        )

    @cached_property
    def _table(self) -> Table:
        table = load_bundled_table(self._bundled)
        self.fingerprint[table.name] = table.sha256
        return table


def load_bundled_table(name: str) -> Table:
    """Load a table of TARGETS, its target last; diabetes as measured, not scaled."""
    from sklearn import datasets as bundled

    options = {"scaled": False} if name == "diabetes" else {}
    found = getattr(bundled, f"load_{name}")(**options)
    columns = {str(column): values for column, values in zip(found.feature_names, found.data.T, strict=True)}
    target = found.target if name == "diabetes" else found.target_names.astype(object)[found.target]
    content = hashlib.sha256(found.data.tobytes() + found.target.tobytes())
    return Table(name, {**columns, TARGETS[name]: target}, content.hexdigest())
