"""Series in time order: windows of what was, and what came next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction as Rational
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy
import torch
from annotated_types import MinLen
from numpy.typing import NDArray

from dltrain.batch import Examples
from dltrain.data.series.files import EEG_NAME, Series, Values, read_eeg, read_series
from dltrain.data.text_files import find_file
from dltrain.dataset import no_test_split
from dltrain.errors import DataError
from dltrain.options import Fold, Fraction, PositiveInt
from dltrain.registry import datasets
from dltrain.runtime.seeds import permutation
from dltrain.stream import Loader

Assets = Mapping[str, Any]
Names = Annotated[list[str], MinLen(1)]
Int64s = NDArray[numpy.int64]


class Borders(NamedTuple):
    """Where the rows of validation begin, those of test, and where those end; training begins with row 0."""

    validation: int
    test: int
    end: int


@datasets.register("series", data="series", sizes={"window": "window"})
class SeriesWindows:
    """One or several columns of a .csv, .tsv, .jsonl or .npz file, a row for each step of time, oldest first.

    The model is given `window` steps of all columns and asked for the next `horizon` steps of the target columns. The
    splits follow each other in time: first training, then validation, then test. No value that validation or test ask
    for is seen in training, and each one is asked for in one split only; the first windows of a later split reach back
    into the one before it, as they would in use, for what is past by then. Columns are brought to zero mean and unit
    variance by the statistics of the training rows.

    Options:
        file: the file with the series.
        root: folder that the file's name starts from.
        columns: columns that the model reads; all but `time` when not given.
        target: those of these columns that are predicted; all of them when not given.
        time: column that says when; it must rise from row to row, and is not read by the model.
        window: steps that the model is given.
        horizon: steps that it is asked for.
        stride: steps from one window to the next.
        validation: share of the rows that validation asks for; they lie before those of test.
        test: share of the rows that test asks for: the last ones.
        fold: hold out this block of rows as the test split, instead of what `test` says. The rows are divided into one
            block more than there are folds; fold i is block i + 1, and all rows before it are training and validation
            (scikit-learn's TimeSeriesSplit).
        batch_size: windows in a training batch.
        evaluation_batch_size: windows in a batch of validation and test.
        when_missing: without the file, stop with an error, or use the EEG sample, all channels of it, and say so.
        sample: use the EEG sample even where the file is.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        file: str,
        root: str = ".",
        columns: Names | None = None,
        target: Names | None = None,
        time: str | None = None,
        window: PositiveInt = 16,
        horizon: PositiveInt = 1,
        stride: PositiveInt = 1,
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
        fold: Fold | None = None,
        batch_size: PositiveInt = 32,
        evaluation_batch_size: PositiveInt = 256,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        self._variant, self._seed = variant, seed
        self._file, self._root = file, Path(root).expanduser()
        self._wanted, self._target, self._time = columns, target, time
        self._window, self._horizon, self._stride = window, horizon, stride
        self._validation, self._test, self._fold = validation, test, fold
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._fingerprint: dict[str, str] = {}
        self._assets: Assets = assets or {}
        self._notice: str | None = None
        if sample or self._assets.get("dataset") == EEG_NAME:
            self._use_sample("as asked." if assets is None else "as this model's training did.")
        elif assets is None and when_missing == "sample":
            try:
                self._located()
            except DataError as error:
                self._use_sample(f"because the file is missing:\n{error}\n")
        if assets is None:
            self._assets = self._learn()

    @property
    def name(self) -> str:
        return EEG_NAME if self._notice else self._variant

    @property
    def assets(self) -> Assets:
        return self._assets

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return dict(self._fingerprint)

    @property
    def notice(self) -> str | None:
        return self._notice

    def training(self) -> Loader[Examples]:
        starts = range(0, self._borders.validation - self._horizon - self._window + 1, self._stride)
        return Loader(self._windows(starts, self._batch_size, shuffled=True))

    def validation(self) -> Loader[Examples]:
        if self._validation == 0:
            return Loader(self._windows(range(0), self._evaluation_batch_size, shuffled=False))
        return self._evaluation("validation", self._borders.validation, self._borders.test)

    def test(self) -> Loader[Examples]:
        if self._test == 0 and self._fold is None:
            raise no_test_split("a share of the rows", self._validation != 0)
        return self._evaluation("test", self._borders.test, self._borders.end)

    def _evaluation(self, split: str, first: int, end: int) -> Loader[Examples]:
        """The windows that ask for rows first..end-1."""
        if end - first < self._horizon:
            raise DataError(
                f"{self._series_name}: {split} has {end - first} rows, but each window asks for {self._horizon}",
                advice=f"raise data.{split}, or lower data.horizon",
            )
        starts = range(first - self._window, end - self._horizon - self._window + 1, self._stride)
        return Loader(self._windows(starts, self._evaluation_batch_size, shuffled=False))

    def _windows(self, starts: range, batch_size: int, shuffled: bool) -> Windows:
        values = torch.from_numpy(standardize_series(self._assets, self._series.values).astype(numpy.float32))
        columns: list[str] = self._assets["columns"]
        targets = [columns.index(name) for name in self._assets["targets"]]
        places = torch.tensor(starts, dtype=torch.int64)
        return Windows(values, places, self._window, self._horizon, targets, batch_size, self._seed, shuffled)

    def _use_sample(self, why: str) -> None:
        self._notice = (
            f"NOT YOUR DATA: this uses the {EEG_NAME}, four channels of a real electroencephalogram, 800 samples each, "
            f"{why}"
        )
        self._wanted = self._target = self._time = None

    def _located(self) -> Path:
        path = find_file(self._root / Path(self._file).expanduser())
        if path is None:
            raise DataError(
                f"{self._file} (plain or .gz): not found in {self._root.absolute()}",
                advice="mend the name in the data section, or set data.root to the folder that has the file",
            )
        return path

    @property
    def _series_name(self) -> str:
        return EEG_NAME if self._notice else str(self._root / self._file)

    @cached_property
    def _series(self) -> Series:
        columns = self._assets.get("columns", self._wanted)
        series = read_eeg() if self._notice else read_series(self._located(), columns, self._time)
        self._fingerprint["eeg.dat" if self._notice else self._file] = series.sha256
        return series

    @cached_property
    def _borders(self) -> Borders:
        rows = len(self._series.values)
        if self._fold is None:
            end, test = rows, rows - round(Rational(str(self._test)) * rows)
            kept = round(Rational(str(self._validation)) * rows)
        else:
            block = rows // (self._fold.of + 1)
            if block < self._horizon:
                raise DataError(
                    f"{self._series_name}: {self._fold.of} folds of {rows} rows are blocks of {block}, but each window "
                    f"asks for {self._horizon}",
                    advice="make fewer folds, or lower data.horizon",
                )
            test = rows - (self._fold.of - self._fold.index) * block
            end = test + block
            kept = round(Rational(str(self._validation)) * test)
        least = self._window + self._horizon
        if test - kept < least:
            raise DataError(
                f"{self._series_name}: {test - kept} of {rows} rows are left to train on, but one window and what it "
                f"asks for take {self._window} + {self._horizon}",
                advice="lower data.window, data.horizon, data.validation or data.test, or give a longer series",
            )
        return Borders(test - kept, test, end)

    def _learn(self) -> Assets:
        series = self._series
        targets = list(series.columns) if self._target is None else self._target
        for name in targets:
            if name not in series.columns:
                raise self._no_target(name, series.columns)
        training = series.values[: self._borders.validation]
        return {
            "dataset": self.name,
            "columns": list(series.columns),
            "targets": targets,
            "time": self._time,
            "window": self._window,
            "horizon": self._horizon,
            "mean": training.mean(0).tolist(),
            "std": numpy.where(numpy.ptp(training, 0) > 0, training.std(0), 1.0).tolist(),
        }

    def _no_target(self, name: str, columns: Sequence[str]) -> DataError:
        near = get_close_matches(name, columns, 1)
        guess = f"\ndid you mean '{near[0]}'?" if near else ""
        return DataError(
            f"{self._series_name}: the target '{name}' (data.target) is not one of the columns read: "
            f"{', '.join(columns)}{guess}",
            advice="correct data.target, or add it to data.columns",
        )


def standardize_series(assets: Assets, values: Values) -> Values:
    """Values (T, C) of the assets' columns as a model's inputs are: of zero mean and unit variance in training."""
    scaled: Values = (values - numpy.array(assets["mean"])) / numpy.array(assets["std"])
    return scaled


class Windows:
    """Windows (N, T, C) of a series (rows, C) and what follows them, (N, horizon * targets), step after step.

    Shuffled, they are a function of (seed, epoch, index); otherwise they are in the order of time.
    """

    def __init__(
        self,
        values: torch.Tensor,
        starts: torch.Tensor,
        window: int,
        horizon: int,
        targets: Sequence[int],
        batch_size: int,
        seed: int,
        shuffled: bool,
    ) -> None:
        self._values, self._starts, self._targets = values, starts, list(targets)
        self._steps = torch.arange(window + horizon)
        self._window, self._batch_size, self._seed, self._shuffled = window, batch_size, seed, shuffled
        self._order = (-1, starts)

    def __len__(self) -> int:
        return -(-len(self._starts) // self._batch_size)

    def batch(self, epoch: int, index: int) -> Examples:
        order = self._order_of(epoch) if self._shuffled else self._starts
        chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
        rows = self._values[chosen[:, None] + self._steps]  # (N, window + horizon, C)
        return Examples(rows[:, : self._window].contiguous(), rows[:, self._window :, self._targets].flatten(1))

    def _order_of(self, epoch: int) -> torch.Tensor:
        known, order = self._order  # read once: another thread may replace it
        if known != epoch:
            order = self._starts[permutation(self._seed, epoch, len(self._starts))]
            self._order = (epoch, order)
        return order
