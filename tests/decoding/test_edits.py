"""Edit distances against the definition, by hand, and against rapidfuzz where it is installed."""

from __future__ import annotations

import functools
import random

import pytest

from dltrain.decoding.edits import EditCounts, align, count_edits, format_alignment


def recursive(reference: str, hypothesis: str) -> tuple[int, int]:
    """The fewest edits, by Levenshtein's definition, and the fewest substitutions among so few."""

    @functools.cache
    def fewest(i: int, j: int) -> tuple[int, int]:
        if i == 0 or j == 0:
            return i + j, 0
        differs = reference[i - 1] != hypothesis[j - 1]
        ways = [(fewest(i - 1, j), 1, 0), (fewest(i, j - 1), 1, 0), (fewest(i - 1, j - 1), differs, differs)]
        return min((total + edits, substitutions + more) for (total, substitutions), edits, more in ways)

    return fewest(len(reference), len(hypothesis))


def pairs_of_texts(count: int, longest: int, letters: str) -> list[tuple[str, str]]:
    draw = random.Random(0)
    texts = ["".join(draw.choices(letters, k=draw.randint(0, longest))) for _ in range(2 * count)]
    return list(zip(texts[::2], texts[1::2], strict=True))


def test_alignments_are_complete_and_as_short_as_the_definition_says() -> None:
    for reference, hypothesis in pairs_of_texts(300, 9, "abc"):
        pairs = align(reference, hypothesis)
        assert "".join(said or "" for said, _ in pairs) == reference
        assert "".join(heard or "" for _, heard in pairs) == hypothesis
        assert (None, None) not in pairs
        counted = count_edits(pairs)
        assert counted.total == sum(said != heard for said, heard in pairs)
        assert counted.length == len(reference)
        assert counted.insertions - counted.deletions == len(hypothesis) - len(reference)
        assert (counted.total, counted.substitutions) == recursive(reference, hypothesis)


def test_distances_are_rapidfuzz_s() -> None:
    distance = pytest.importorskip("rapidfuzz.distance").Levenshtein.distance
    for reference, hypothesis in pairs_of_texts(60, 80, "abcdef gh"):
        assert count_edits(align(reference, hypothesis)).total == distance(reference, hypothesis)
        words = reference.split(), hypothesis.split()
        assert count_edits(align(*words)).total == distance(*words)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("kitten", "sitting", EditCounts(2, 1, 0, 6)),
        ("", "", EditCounts(0, 0, 0, 0)),
        ("", "ab", EditCounts(0, 2, 0, 0)),
        ("ab", "", EditCounts(0, 0, 2, 2)),
        ("same", "same", EditCounts(0, 0, 0, 4)),
        ("abc", "xyz", EditCounts(3, 0, 0, 3)),
        ("aab", "ab", EditCounts(0, 0, 1, 3)),
        ("ab", "abb", EditCounts(0, 1, 0, 2)),
    ],
)
def test_edits_by_hand(reference: str, hypothesis: str, expected: EditCounts) -> None:
    assert count_edits(align(reference, hypothesis)) == expected


def test_words_stand_side_by_side() -> None:
    pairs = align(["he", "sat", "on", "the", "mat"], ["she", "sat", "on", "mat", "today"])
    assert format_alignment(pairs) == (
        "he  sat on the mat *****",
        "she sat on *** mat today",
        "S          D       I",
    )
    assert format_alignment([]) == ("", "", "")
