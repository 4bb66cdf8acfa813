"""`--require 'accuracy>=0.99'`: what a metric must reach."""

from __future__ import annotations

import operator
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from dltrain.errors import UsageError

OPERATORS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq}


class Requirement(NamedTuple):
    """`metric operator number`, as given to --require."""

    metric: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.bound:g}"

    def check_metric(self, metrics: Collection[str]) -> None:
        """Raises UsageError with the list of metrics where this one is unknown."""
        if self.metric not in metrics:
            raise UsageError(f"--require {self}: unknown metric '{self.metric}'; available: {', '.join(metrics)}")

    def is_met(self, report: Mapping[str, float]) -> bool:
        """Whether the report fulfils it; raises UsageError as `check_metric`."""
        self.check_metric(report)
        return bool(OPERATORS[self.comparison](report[self.metric], self.bound))


def parse_requirement(text: str) -> Requirement:
    """Raises UsageError for anything but `metric operator number`."""
    match = re.fullmatch(r"\s*(\w+)\s*(>=|<=|==|>|<)\s*([-+.\deE]+)\s*", text)
    if match:
        try:
            return Requirement(match[1], match[2], float(match[3]))
        except ValueError:
            pass
    raise UsageError(
        f"--require: found '{text}'; allowed is METRIC>=NUMBER (or <=, >, <, ==), such as 'accuracy>=0.99'"
    )
