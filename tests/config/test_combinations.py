"""The combinations of a search space, against their enumeration with itertools."""

from __future__ import annotations

from itertools import product

import pytest

from dltrain.config.combinations import count_combinations, list_combinations, list_values, round_to_step
from dltrain.config.search import Dimension

RATE = Dimension("optimizer.learning_rate", (), 1e-4, 0.1, log=True)


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        (Dimension("model.hidden", ("[4]", "[8, 8]")), ["[4]", "[8, 8]"]),
        (Dimension("data.batch_size", (), 16, 70, step=16), ["16", "32", "48", "64"]),
        (Dimension("trainer.epochs", (), 2, 5), ["2", "3", "4", "5"]),
        (Dimension("model.dropout", (), 0.1, 0.35, step=0.1), ["0.1", "0.2", "0.3"]),
        (Dimension("model.dropout", (), 0.0, 0.5, step=0.25), ["0.0", "0.25", "0.5"]),
    ],
)
def test_a_range_with_a_step_has_the_numbers_that_a_person_would_write(dimension: Dimension, values: list[str]) -> None:
    assert list(list_values(dimension)) == values
    assert count_combinations([dimension]) == len(values)


def test_every_combination_once_the_last_option_changing_fastest() -> None:
    space = (
        Dimension("model.hidden", ("[4]", "[8]")),
        Dimension("data.batch_size", (), 8, 24, step=8),
        Dimension("model.dropout", ("0", "0.5")),
    )
    paths = [each.path for each in space]
    expected = [
        dict(zip(paths, each, strict=True)) for each in product(["[4]", "[8]"], ["8", "16", "24"], ["0", "0.5"])
    ]
    assert list(list_combinations(space)) == expected
    assert count_combinations(space) == 12


def test_an_option_of_one_name_multiplies_its_combinations_alone() -> None:
    space = (
        Dimension("optimizer.name", ("sgd", "adam", "adamw")),
        Dimension("optimizer.momentum", ("0", "0.9"), names=frozenset(["sgd"])),
        Dimension("optimizer.amsgrad", ("true", "false"), names=frozenset(["adam", "adamw"])),
        Dimension("optimizer.learning_rate", ("0.1", "0.01")),
        Dimension("model.hidden", ("[4]", "[8]", "[16]")),
    )
    found = list(list_combinations(space))
    assert len(found) == (2 + 2 + 2) * 2 * 3 == count_combinations(space)
    assert len({tuple(sorted(each.items())) for each in found}) == len(found)
    for each in found:
        assert ("optimizer.momentum" in each) == (each["optimizer.name"] == "sgd")
        assert ("optimizer.amsgrad" in each) == (each["optimizer.name"] != "sgd")


def test_a_continuous_range_has_no_end_of_combinations() -> None:
    assert count_combinations([RATE, Dimension("model.hidden", ("[4]",))]) is None
    assert round_to_step(RATE, "0.012345") == "0.012345"


def test_a_step_in_binary_is_the_same_value_as_in_decimals() -> None:
    dimension = Dimension("model.dropout", (), 0.1, 0.5, step=0.1)
    assert str(0.1 + 2 * 0.1) == "0.30000000000000004"
    assert round_to_step(dimension, str(0.1 + 2 * 0.1)) == "0.3"
    assert [round_to_step(dimension, each) for each in list_values(dimension)] == list(list_values(dimension))
