"""The type of an option that names one of several groups of options, as a layer of a network does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Named:
    """Metadata of a type: one of `groups`, chosen by its name.

    In YAML it is the name alone, or a mapping of that one name to its options, or to the value of its first option:
    ``relu``, ``{dense: {units: 64, bias: false}}``, ``{dense: 64}``. Checked, it is ``{name: {option: value, ...}}``
    with every option. `noun` is what one of them is called; those in a list are numbered. `absent` says of names that
    people look for, and that are not there, what to do instead.
    """

    noun: str
    groups: Mapping[str, type]
    """Frozen dataclasses, with an `Options:` section in the docstring."""
    absent: Mapping[str, str]
