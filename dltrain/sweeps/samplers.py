"""The values of a sweep's trials: sampled, or from a grid, and no combination twice.

What a trial gets follows from the seed, its number and the trials before. It is decided under the sweep's lock, as one
step, so that an interrupted sweep, or one of several processes, chooses the same values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from dltrain.config.combinations import count_combinations, list_combinations, round_to_step
from dltrain.config.document import format_value
from dltrain.config.search import Dimension, Search

TRIES = 100
"""Samples for one trial that may have been tried before; after them an untried combination is chosen evenly."""
LISTED = 100_000
"""Combinations that are looked through for one that is untried."""
DEFAULT_TRIALS = 20
VALUES = "values"
"""The attribute of a trial with its values as YAML, by path."""

Combination = tuple[tuple[str, str], ...]


class KeyedSampler(RandomSampler):
    """Samples each value from (seed, trial, option) and the trials before, whatever this process sampled so far.

    So an interrupted sweep samples the same values as an uninterrupted one. `chosen` are values that are decided.
    """

    def __init__(self, sampler: str, seed: int) -> None:
        super().__init__(seed)
        self._sampler, self._seed = sampler, seed
        self.chosen: dict[str, Any] = {}
        self.attempt = 0

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self.chosen:
            return self.chosen[param_name]
        seed = self.make_seed(trial.number, param_name)
        sampler = TPESampler(seed=seed) if self._sampler == "tpe" else RandomSampler(seed=seed)
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def make_seed(self, number: int, name: str) -> int:
        """A seed for one value of trial `number`; another one in each attempt."""
        key = f"{self._seed}/{number}/{name}" + (f"/{self.attempt}" if self.attempt else "")
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")


def assign_values(study: Study, trial: Trial, search: Search, is_counted: Callable[[FrozenTrial], bool]) -> None:
    """Choose values for a trial that has none yet, and record them: their YAML as an attribute, then its parameters.

    Those of another trial are not chosen again, unless that is not counted, since another one replaces it.
    """
    values = trial.user_attrs.get(VALUES)
    if values is None and not trial.params:
        others = [one for one in study.get_trials(deepcopy=False) if one.number != trial.number and is_counted(one)]
        tried = [one.user_attrs[VALUES] for one in others if VALUES in one.user_attrs]
        values = _choose_values(study, trial.number, search, {identify(one, search.dimensions) for one in tried})
        trial.set_user_attr(VALUES, values)
    by_path = {each.path: each for each in search.dimensions}
    sampler = study.sampler
    assert isinstance(sampler, KeyedSampler)
    sampler.chosen = {path: _parse_external(by_path[path], text) for path, text in (values or {}).items()}
    try:
        recorded = suggest_values(trial, search.dimensions)
    finally:
        sampler.chosen = {}
    if values is None:  # a trial of the previous version, which recorded its parameters first
        trial.set_user_attr(VALUES, recorded)


def _choose_values(study: Study, number: int, search: Search, tried: set[Combination]) -> dict[str, str]:
    """Values that are not among those tried; a sweep has at most as many trials as there are combinations."""
    if search.sampler == "grid":
        return next(
            each for each in list_combinations(search.dimensions) if identify(each, search.dimensions) not in tried
        )
    sampler, trial = study.sampler, study.get_trials(deepcopy=False)[number]
    assert isinstance(sampler, KeyedSampler)
    try:
        for sampler.attempt in range(TRIES):
            values = _sample(study, trial, search.dimensions)
            if identify(values, search.dimensions) not in tried:
                return values
        return _choose_untried(sampler, number, search.dimensions, tried) or values
    finally:
        sampler.attempt = 0


def identify(values: Mapping[str, str], dimensions: Sequence[Dimension]) -> Combination:
    """What two trials with the same settings have in common."""
    return tuple((each.path, round_to_step(each, values[each.path])) for each in dimensions if each.path in values)


def count_trials(search: Search) -> int:
    """How many trials a sweep consists of: those asked for, but no more than there are combinations."""
    combinations = count_combinations(search.dimensions)
    if search.trials is None and search.sampler == "grid" and combinations is not None:
        return combinations
    asked = search.trials or DEFAULT_TRIALS
    return asked if combinations is None else min(asked, combinations)


def _choose_untried(
    sampler: KeyedSampler, number: int, dimensions: Sequence[Dimension], tried: set[Combination]
) -> dict[str, str] | None:
    """One of the untried combinations, each as likely; None where there are none, or too many to list them."""
    count = count_combinations(dimensions)
    if count is None or count > LISTED:
        return None
    untried = [each for each in list_combinations(dimensions) if identify(each, dimensions) not in tried]
    return untried[sampler.make_seed(number, "untried") % len(untried)] if untried else None


def _sample(study: Study, trial: FrozenTrial, dimensions: Sequence[Dimension]) -> dict[str, str]:
    """A value for each path that applies, as YAML; nothing is recorded."""
    values: dict[str, str] = {}
    for each in dimensions:
        if each.applies(values):
            sampled = study.sampler.sample_independent(study, trial, each.path, make_distribution(each))
            values[each.path] = _format_external(sampled)
    return values


def suggest_values(trial: Trial, dimensions: Sequence[Dimension]) -> dict[str, str]:
    """The trial's value for each path that applies to it, as YAML; those an earlier process recorded are kept."""
    values: dict[str, str] = {}
    for each in dimensions:
        if each.applies(values):
            values[each.path] = _format_external(_suggest(trial, each))
    return values


def _suggest(trial: Trial, dimension: Dimension) -> Any:
    distribution = make_distribution(dimension)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(dimension.path, distribution.choices)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_int(dimension.path, low, high, step=distribution.step, log=distribution.log)
    return trial.suggest_float(
        dimension.path, distribution.low, distribution.high, step=distribution.step, log=distribution.log
    )


def make_distribution(dimension: Dimension) -> CategoricalDistribution | IntDistribution | FloatDistribution:
    """What Optuna samples a dimension's value from."""
    low, step = dimension.low, dimension.step
    if dimension.values:
        return CategoricalDistribution(dimension.values)
    high = dimension.high if step is None else _last_step(low, dimension.high, step)
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=dimension.log, step=int(step or 1))
    return FloatDistribution(low, high, log=dimension.log, step=step)


def _last_step(low: float, high: float, step: float) -> float:
    """The largest of low, low + step, low + 2 * step, ... that is not above `high`."""
    first, width, last = (Decimal(str(each)) for each in (low, step, high))
    value = first + (last - first) // width * width
    return int(value) if isinstance(low, int) else float(value)


def _format_external(value: Any) -> str:
    """A value as Optuna has it, as YAML: listed values are YAML already."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else format_value(float(value))


def _parse_external(dimension: Dimension, text: str) -> Any:
    if dimension.values:
        return text
    return int(text) if isinstance(dimension.low, int) else float(text)
