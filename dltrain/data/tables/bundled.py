"""Tables that scikit-learn ships."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

from dltrain.data.tables.dataset import Division, TableDataset, Texts
from dltrain.data.tables.files import Table
from dltrain.data.tables.roles import Roles
from dltrain.options import Fold, Fraction, PositiveInt
from dltrain.registry import datasets

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
        roles = Roles(
            target=(TARGETS[table],),
            target_holds="numbers" if table == "diabetes" else "labels",
            features=None if features is None else tuple(features),
            normalize=normalize,
            normalize_target=normalize_target,
        )
        shares = {"validation": validation, "test": test}
        super().__init__(
            f"{table} (scikit-learn)",
            seed,
            assets,
            roles=roles,
            division=Division(shares=shares, stratified=stratified, fold=fold),
            batch_size=batch_size,
            evaluation_batch_size=evaluation_batch_size,
        )

    def _load_table(self) -> Table:
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
