"""What a trained model says of new inputs: labels with their probabilities, or numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from dltrain.errors import DataError, UsageError
from dltrain.kinds import resolve_reference

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.kinds import Kind, NamedInput, Reader
    from dltrain.runs.loading import Trained

NO_ABILITY = "a plug-in's task needs labels and probabilities, or outputs and estimates (docs/extending.md)"
BATCH = 256

Inversion = Literal["auto", "yes", "no"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one input.

    `name` is the input's: a file, FILE:LINE, a text, or "input 0" for what has none. `probabilities` map labels to
    their probabilities, the chosen label first, then the most probable ones; `values` map the outputs of a regression
    or a forecast to numbers in the units of the data. An input that could not be read has an `error` and neither.
    `kept` are the input's cells in the columns to keep.
    """

    name: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    error: DataError | None = None
    kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str | None:
        """The chosen label; None for numbers."""
        return next(iter(self.probabilities), None)

    @property
    def probability(self) -> float | None:
        """The probability of the chosen label; None for numbers."""
        return next(iter(self.probabilities.values()), None)

    @property
    def value(self) -> float | None:
        """The number, where there is exactly one; None for labels."""
        return next(iter(self.values.values())) if len(self.values) == 1 else None


class Predictor(NamedTuple):
    """A trained model, the reader of its kind of data, whether its task gives labels, and how many of them (or all)."""

    trained: Trained
    kind: Kind
    reader: Reader
    labels: bool
    top: int | None = None

    def describe(self, one: Prediction) -> dict[str, Any]:
        """A prediction as JSON: its name by the kind's key, then its labels, or its numbers."""
        from dltrain.capabilities import Clarifies

        task = self.trained.task
        facts = task.facts if isinstance(task, Clarifies) else {}
        labels = [{"label": label, "probability": value} for label, value in one.probabilities.items()]
        found: dict[str, Any] = {"labels": labels} if self.labels else {"estimates": dict(one.values)}
        if self.labels and "positive_label" in facts:
            found["positive_label"] = facts["positive_label"]
        return {self.kind.key: one.name, **({"kept": dict(one.kept)} if one.kept else {}), **found}

    def predict_named(
        self, names: Sequence[str], lines: Iterator[str], watch: Callable[[Iterable[NamedInput]], Iterator[NamedInput]]
    ) -> Iterator[list[Prediction]]:
        """Predictions for the inputs that `names` mean, and `lines` of standard input; `watch` sees each input."""
        return self.predict(watch(self.reader.read(names, lines)))

    def predict(self, given: Iterable[NamedInput]) -> Iterator[list[Prediction]]:
        """Predictions for inputs that were read, batch by batch, in their order; none of the batches is empty."""
        inputs = iter(given)
        while batch := list(islice(inputs, BATCH)):
            readable = [one for one in batch if not isinstance(one.value, DataError)]
            predicted = iter(_predict_inputs(self, readable) if readable else ())
            yield [
                Prediction(name=one.name, error=one.value) if isinstance(one.value, DataError) else next(predicted)
                for one in batch
            ]


def make_predictor(
    run: Path, trained: Trained, invert: Inversion = "auto", top: int | None = None, *, keep: Sequence[str] = ()
) -> Predictor:
    """Raises UsageError where the task gives neither labels nor numbers, or nothing reads this kind of data."""
    from dltrain.capabilities import Estimates, Predicts

    task, kind = trained.experiment.task.name, trained.kind
    if not isinstance(trained.task, Predicts | Estimates):
        raise UsageError(f"{run}: the task '{task}' gives neither labels nor numbers for inputs", advice=NO_ABILITY)
    if kind.reader is None:
        advice = f"register a reader in the plug-in: register(Kind(name='{kind.name}', reader=...))"
        message = f"{run}: nothing reads inputs of the kind of data '{kind.name}'"
        raise UsageError(message, advice=f"{advice}, see docs/extending.md")
    options: dict[str, Any] = {"invert": invert} if "invert" in kind.reader_options else {}
    if keep and "keep" not in kind.reader_options:
        raise UsageError(f"{run}: --keep is for tables; the task '{task}' reads {kind.plural}", advice="leave it out")
    if keep:
        options["keep"] = keep
    if "invert" not in options and invert != "auto":
        raise UsageError(f"{run}: --invert is for images; the task '{task}' reads {kind.plural}", advice="leave it out")
    try:
        reader = resolve_reference(kind.reader)(trained.record.assets, **options)
    except KeyError as error:
        raise UsageError(
            f"{run}: predict cannot read {kind.plural}: its dataset's assets lack {error}",
            advice="add it to the dataset's assets (docs/extending.md), and train again",
        ) from error
    return Predictor(trained, kind, reader, isinstance(trained.task, Predicts), top=top)


def _predict_inputs(predictor: Predictor, given: Sequence[NamedInput]) -> list[Prediction]:
    import torch

    from dltrain.batch import move_tensor

    trained: Trained = predictor.trained
    task: Any = trained.task
    tensors = predictor.reader.inputs([one.value for one in given])
    inputs = [move_tensor(tensor, trained.runtime.device) for tensor in tensors]
    with torch.inference_mode(), trained.runtime.autocast():
        results = (task.probabilities if predictor.labels else task.estimates)(trained.model, *inputs).cpu()
    if predictor.labels:
        ranked = rank_labels(task, results, predictor.top)
        pairs = zip(given, ranked, strict=True)
        return [Prediction(name=one.name, probabilities=each, kept=one.kept) for one, each in pairs]
    numbers = [dict(zip(task.outputs, row, strict=True)) for row in results.tolist()]
    return [Prediction(name=one.name, values=each, kept=one.kept) for one, each in zip(given, numbers, strict=True)]


def rank_labels(task: Any, probabilities: Tensor, top: int | None) -> list[dict[str, float]]:
    """For each input the `top` most probable labels with their probabilities; the task's decision comes first."""
    from dltrain.capabilities import Decides

    order = probabilities.clone()
    if isinstance(task, Decides):
        decided = task.decisions(probabilities)[:, None]
        order.scatter_(1, decided, 2.0)  # before all probabilities
    classes = probabilities.shape[1]
    indices = order.topk(classes if top is None else min(top, classes)).indices
    rows = zip(indices.tolist(), probabilities.gather(1, indices).tolist(), strict=True)
    return [{task.labels[index]: value for index, value in zip(row, values, strict=True)} for row, values in rows]
