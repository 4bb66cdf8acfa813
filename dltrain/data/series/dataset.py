"""Series in time order: windows of past values, and the values that follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction as Rational
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy
import torch
from annotated_types import Ge, MinLen
from numpy.typing import NDArray
from torch import Tensor

from dltrain.batch import Examples
from dltrain.data.batching import IndexedBatches
from dltrain.data.layout import Layout, Quoting, Separator, restore_layout
from dltrain.data.numbers import Decimal
from dltrain.data.series.files import SAMPLE, Numbering, Series, read_eeg, read_series, restore_series_formats
from dltrain.data.series.overview import Borders, describe_concerns, summarize_series
from dltrain.data.series.scaling import find_trend, learn_scales, measure_changes, standardize_series
from dltrain.data.series.seasons import find_season
from dltrain.data.series.times import Gaps
from dltrain.data.series.values import MissingValues
from dltrain.data.text_files import require_files
from dltrain.data.wording import suggest_name
from dltrain.dataset import DataSummary, SplitName, no_test_split
from dltrain.errors import DataError
from dltrain.options import BatchSize, FilePath, Fold, FolderPath, Fraction, PositiveInt
from dltrain.registry import datasets
from dltrain.runtime.seeds import draw_permutation, mix_bits
from dltrain.stream import Loader

Names = Annotated[list[str], MinLen(1)]


@datasets.register("series", data="series", sizes={"window": "window"})
class SeriesWindows:
    """One or several columns of a .csv, .tsv, .jsonl or .npz file, a row for each time step, oldest first.

    The model reads `window` steps of all columns and predicts the next `horizon` steps of the target columns. The
    splits follow each other in time: training, validation, test. No target value of validation or test is seen in
    training, and each belongs to one split only; the first windows of a later split reach back into the one before it,
    as they would in use.

    A model whose inputs are levels cannot extrapolate a trend: choose `normalize: window` or `difference` for a series
    that leaves the range of its training rows, or `normalize: auto`. Forecasts and errors are in the units of the file
    in any case.

    Options:
        file: the file with the series.
        root: folder that the file name is relative to.
        separator: what separates the fields of .csv and .tsv files: comma, semicolon, tab or pipe; auto finds it in the
            first rows of a .csv file, and reports it if it is not the comma.
        quoting: standard (a field in quotation marks may hold separators and line ends, RFC 4180), none (quotation
            marks are text), or auto: standard in .csv files, and in .tsv files all of whose marks quote fields.
        decimal: decimal mark of numbers that are written with separators or signs, such as 1,234.50 or 2,5 or 1.234 €
            or 12% (0.12): point or comma. Auto finds it column by column, and reports it; it is an error if a file does
            not show whether 1,234 is 1234.
        columns: columns that the model reads; default all except `time`.
        target: the columns among these to predict; default all of them.
        time: time column; it must increase from row to row, and is not read by the model.
        gaps: what becomes of windows that run across a gap, a step in `time` of more than 1.5 usual ones: keep them and
            report how many, skip them, or stop with an error.
        missing: what becomes of missing values (empty, NA, NaN, null, None or ?): stop with an error that names all of
            them, or repeat the one before, previous; both in training and in later use. They are counted.
        window: steps that the model reads.
        horizon: steps that it predicts.
        season: steps after which the series repeats, such as 12 months, for a baseline that repeats the last season; by
            default found from the autocorrelation of the training rows' changes.
        stride: steps from one window to the next.
        normalize: standard (zero mean and unit variance over the training rows), window (each window relative to its
            last row, in units of its own spread, and so are the values to predict), or auto: window if more than a
            tenth of the last fifth of the training values are outside the range of those before, else standard.
        difference: lags at which the model reads and predicts differences in place of values, one after the other: [1]
            for a trend, [12] for a yearly season of months, [1, 12] for both; with `normalize: window` they are in
            units of each window's spread. It reads as many more rows.
        validation: share of the rows that are targets of validation; they precede those of test.
        test: share of the rows that are targets of test: the last ones.
        fold: hold out this block of rows as the test split, instead of `test`. The rows are divided into one more block
            than there are folds; fold i is block i + 1, and all rows before it are training and validation
            (scikit-learn's TimeSeriesSplit).
        batch_size: windows in a training batch.
        evaluation_batch_size: windows in a batch of validation and test.
        when_missing: if the file is missing, stop with an error, or use all channels of the EEG sample with a notice.
        sample: use the EEG sample even if the file exists.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        file: FilePath,
        root: FolderPath = ".",
        separator: Separator = "auto",
        quoting: Quoting = "auto",
        decimal: Decimal = "auto",
        columns: Names | None = None,
        target: Names | None = None,
        time: str | None = None,
        gaps: Literal["keep", "skip", "error"] = "keep",
        missing: MissingValues = "error",
        window: PositiveInt = 16,
        horizon: PositiveInt = 1,
        season: Annotated[int, Ge(2)] | None = None,
        stride: PositiveInt = 1,
        normalize: Literal["auto", "standard", "window"] = "standard",
        difference: Annotated[list[PositiveInt], MinLen(1)] | None = None,
        validation: Fraction = 0.1,
        test: Fraction = 0.1,
        fold: Fold | None = None,
        batch_size: BatchSize = 32,
        evaluation_batch_size: PositiveInt = 256,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        self._seed, self.file, self._root = seed, file, Path(root).expanduser()
        self._window, self._horizon, self._stride, self._treatment = window, horizon, stride, gaps
        self._missing: MissingValues = missing
        self._normalize, self._difference = normalize, difference or []
        self._rows, self._season = window + sum(self._difference), season
        self._validation, self._test, self._fold = validation, test, fold
        self._batch_size, self._evaluation_batch_size = batch_size, evaluation_batch_size
        self._layout = Layout(separator, quoting)
        self._numbers: Numbering = decimal if assets is None else restore_series_formats(assets)
        self.fingerprint: dict[str, str] = {}
        self._opened: list[SplitName] = []
        self._substituted = SAMPLE.substitute(
            assets, sample, when_missing, check_files=lambda: require_files(self._root, [file])
        )
        self.name = SAMPLE.name if self._substituted else variant
        self._source = SAMPLE.name if self._substituted else str(self._root / file)
        self._columns, self._target, self._time = (None, None, None) if self._substituted else (columns, target, time)
        self.assets: Mapping[str, Any] = assets or {}
        if assets is None:
            self.assets = self._learn()

    @property
    def notice(self) -> str | None:
        """That the sample is used; and what is odd about the splits opened so far."""
        concerns = describe_concerns(self._source, self, self._opened) if self._opened else []
        return "; ".join(([self._substituted] if self._substituted else []) + concerns) or None

    @property
    def takes_all_columns(self) -> bool:
        """Whether all columns of the user's file are values, because neither they nor the time are named."""
        return self._columns is None and self._time is None and not self._substituted

    def training(self) -> Loader[Examples]:
        return self._load("training", self._batch_size, shuffled=True)

    def validation(self) -> Loader[Examples]:
        return self._load("validation", self._evaluation_batch_size, shuffled=False)

    def test(self) -> Loader[Examples]:
        if self._test == 0 and self._fold is None:
            raise no_test_split("a share of the rows", self._validation != 0)
        return self._load("test", self._evaluation_batch_size, shuffled=False)

    def summarize(self) -> DataSummary:
        return summarize_series(self._source, self)

    def identities(self, split: SplitName) -> NDArray[numpy.uint64]:
        """A hash of each window's values and of those that follow it, (N,)."""
        values = self.series.values + 0.0  # no negative zeros
        targets = [self.assets["columns"].index(name) for name in self.assets["targets"]]
        starts, length = self.starts(split), self._rows + self._horizon
        hashes = numpy.full(len(starts), length, numpy.uint64)
        for step in range(length):
            rows = values[starts + step]
            for column in rows.T if step < self._rows else rows.T[targets]:
                hashes = mix_bits(hashes + numpy.ascontiguousarray(column).view(numpy.uint64))
        return hashes

    def show_raw(self, split: SplitName, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of some windows in the file, counted from 1, and of those to predict."""
        rows = []
        for start in (int(self.starts(split)[at]) for at in indices):
            end = start + self._rows
            after = f"{end + 1}" + (f" to {end + self._horizon}" if self._horizon > 1 else "")
            rows.append({"rows": f"{start + 1} to {end}", "to predict": after})
        return rows

    def name_examples(self, split: SplitName, indices: Sequence[int]) -> list[str]:
        """The rows that some windows predict, counted from 1, in their file."""
        return [f"{self._source}, row {row['to predict']}" for row in self.show_raw(split, indices)]

    def _load(self, split: SplitName, batch_size: int, shuffled: bool) -> Loader[Examples]:
        if self._treatment == "error":
            self._refuse_gaps()
        self._opened.append(split)
        return Loader(self._windows(self.starts(split), batch_size, shuffled=shuffled))

    def starts(self, split: SplitName) -> NDArray[numpy.int64]:
        """The first row of each window of a split, (N,)."""
        starts = self.list_starts(split)
        if self.skips_gaps:
            kept = starts[~self.crosses_gap(starts)]
            if len(starts) and not len(kept):
                raise DataError(
                    f"{self._source}: all {len(starts)} windows of {split} run across gaps in time",
                    advice="lower data.window or data.horizon, or set data.gaps=keep",
                )
            return kept
        return starts

    @property
    def skips_gaps(self) -> bool:
        return self._treatment == "skip"

    def crosses_gap(self, starts: NDArray[numpy.int64]) -> NDArray[numpy.bool_]:
        """Whether the window that starts at each row, with what follows it, runs across a gap in time, (N,)."""
        if self.gaps is None:
            return numpy.zeros(len(starts), bool)
        before = numpy.concatenate(([0], numpy.cumsum(self.gaps.after)))
        crosses: NDArray[numpy.bool_] = before[starts + self._rows + self._horizon - 1] > before[starts]
        return crosses

    def list_starts(self, split: SplitName) -> NDArray[numpy.int64]:
        """The same, with windows that run across a gap."""
        if split == "validation" and self._validation == 0:
            return numpy.arange(0)
        first, end = self.borders.rows(split)
        if end - first < self._horizon:
            raise DataError(
                f"{self._source}: {split} has {end - first} rows, but each window predicts {self._horizon}",
                advice=f"raise data.{split}, or lower data.horizon",
            )
        first = 0 if split == "training" else first - self._rows
        return numpy.arange(first, end - self._horizon - self._rows + 1, self._stride)

    def _windows(self, starts: NDArray[numpy.int64], batch_size: int, shuffled: bool) -> IndexedBatches[Examples]:
        """Batch windows (N, rows, C) and what follows them, (N, horizon * targets), step after step.

        Shuffled, they are a function of (seed, epoch, index); otherwise they are in the order of time.
        """
        values = torch.from_numpy(standardize_series(self.assets, self.series.values))
        targets = [self.assets["columns"].index(name) for name in self.assets["targets"]]
        firsts = torch.from_numpy(starts)
        steps = torch.arange(self._rows + self._horizon)

        def make(epoch: int, chosen: Tensor) -> Examples:
            rows = values[firsts[chosen][:, None] + steps]  # (N, rows + horizon, C)
            return Examples(rows[:, : self._rows].contiguous(), rows[:, self._rows :, targets].flatten(1))

        order = partial(draw_permutation, self._seed, n=len(starts))
        return IndexedBatches(len(starts), batch_size, make, order if shuffled else None)

    @cached_property
    def series(self) -> Series:
        if self._substituted:
            series = read_eeg()
        else:
            (path,) = require_files(self._root, [self.file])
            layout = restore_layout(self.assets, self.assets.get("columns", ()), self._layout)
            columns = self.assets.get("columns", self._columns)
            series = read_series(path, columns, self._time, layout=layout, numbers=self._numbers, missing=self._missing)
        self.fingerprint["eeg.dat" if self._substituted else self.file] = series.sha256
        return series

    @cached_property
    def gaps(self) -> Gaps | None:
        """The gaps in time; None without a time column."""
        times = self.series.times
        return None if times is None else times.find_gaps()

    def _refuse_gaps(self) -> None:
        times, gaps = self.series.times, self.gaps
        if times is not None and gaps is not None and gaps.after.any():
            raise DataError(
                f"{self._source}: {gaps.describe(times)}",
                advice="fill the gaps, or set data.gaps=skip to leave out the windows that run across one",
            )

    def _measure_step(self) -> dict[str, Any]:
        times = self.series.times
        if times is None:
            return {}
        return times.select(slice(self.borders.validation)).measure_step(across_gaps=self._treatment == "keep")

    @cached_property
    def borders(self) -> Borders:
        rows = len(self.series.values)
        if self._fold is None:
            end, test = rows, rows - round(Rational(str(self._test)) * rows)
            kept = round(Rational(str(self._validation)) * rows)
        else:
            block = rows // (self._fold.of + 1)
            if block < self._horizon:
                raise DataError(
                    f"{self._source}: {self._fold.of} folds of {rows} rows are blocks of {block}, but each window "
                    f"predicts {self._horizon}",
                    advice="make fewer folds, or lower data.horizon",
                )
            test = rows - (self._fold.of - self._fold.index) * block
            end = test + block
            kept = round(Rational(str(self._validation)) * test)
        if test - kept < self._rows + self._horizon:
            raise DataError(
                f"{self._source}: {test - kept} of {rows} rows are left to train on, but one window and its "
                f"targets take {self._rows} + {self._horizon}",
                advice="lower data.window, data.horizon, data.validation or data.test, or give a longer series",
            )
        return Borders(test - kept, test, end)

    def _learn(self) -> Mapping[str, Any]:
        series = self.series
        targets = list(series.columns) if self._target is None else self._target
        for name in targets:
            if name not in series.columns:
                raise DataError(
                    f"{self._source}: the target '{name}' (data.target) is not one of the columns read: "
                    f"{', '.join(series.columns)}{suggest_name(name, series.columns)}",
                    advice="correct data.target, or add it to data.columns",
                )
        training = series.values[: self.borders.validation]
        targeted, normalize = training[:, [series.columns.index(name) for name in targets]], self._normalize
        if normalize == "auto":
            trending = find_trend(targeted)
            normalize = "window" if trending and not self._difference else "standard"
        return {
            "dataset": self.name,
            **self._layout.to_assets(),
            **({"formats": {name: form.to_plain() for name, form in series.formats.items()}} if series.formats else {}),
            **({"missing": self._missing} if self._missing != "error" else {}),
            "columns": list(series.columns),
            "targets": targets,
            "time": self._time,
            **self._measure_step(),
            "window": self._window,
            "horizon": self._horizon,
            "season": self._season or find_season(targeted),
            **measure_changes(targeted),
            **learn_scales(training, self._window, normalize, self._difference),
        }
