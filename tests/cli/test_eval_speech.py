"""`dltrain eval` of a speech recogniser: the worst clips, what is confused, and decoders, with tones for letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dltrain.decoding.ngram import estimate_ngrams, write_arpa
from dltrain.errors import DataError, RequirementNotMet, UsageError
from dltrain.files import hash_file
from support.commands import call, good
from support.files import lines
from support.tones import train

pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the test split's clips, `ba cab d` should be `a cad c d`, and what is as likely `b` as `c` should be `c`."""
    return train(tmp_path_factory.mktemp("tones"))


def found(run: Path, *words: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(good("eval", run, "--json", *words).stdout)
    return result


def test_rates_mistakes_and_the_decoder(run: Path) -> None:
    result = found(run)
    assert result["metrics"]["word_error_rate"] == pytest.approx((3 + 1) / 8)
    assert result["metrics"]["utterance_error_rate"] == pytest.approx(2 / 4)
    assert result["decoder"] == {"method": "greedy"}
    assert "worst" not in result
    assert sum(one["times"] for one in result["confused"]) == 5
    assert {(one["said"], one["understood"], one["times"]) for one in result["confused"]} == {
        ("", "b", 1), (" ", "", 1), ("c", "b", 2), ("d", "", 1),
    }  # fmt: skip
    kept = lines(run / "evaluations.jsonl")[-1]
    assert {name: kept[name] for name in ("decoder", "confused", "metrics")} == {
        name: result[name] for name in ("decoder", "confused", "metrics")
    }


def test_the_worst_clips(run: Path) -> None:
    worst = found(run, "--worst", 9)["worst"]
    assert [(one["name"], one["clip"], one["reference"], one["hypothesis"]) for one in worst] == [
        ("test_2.wav", 2, "a cad c d", "ba cab d"),
        ("test_3.wav", 3, "c", "b"),
    ]
    assert worst[1]["compared"] == [["c", "b"]]
    assert worst[0]["nats"] > worst[1]["nats"] > 0
    assert [one["clip"] for one in found(run, "--worst", 1)["worst"]] == [2]
    assert found(run, "--worst", 1, "--split", "validation")["worst"] == []


def test_what_a_person_reads(run: Path) -> None:
    told = good("eval", run, "--worst", 2).stdout
    assert told.startswith("test split of tones, greedy, checkpoint step-")
    assert (
        "\nworst 1: test_2.wav, 3 edits\n"
        "  reference   a cad c   d\n"
        "  hypothesis  * ba  cab d\n"
        "              D S   S\n"
        "\nworst 2: test_3.wav, 1 edit\n"
        "  reference   c\n"
        "  hypothesis  b\n"
        "              S\n"
    ) in told
    table = [line.split() for line in told[told.index("reference  hypothesis") :].splitlines()]
    assert table[0] == ["reference", "hypothesis", "count"]
    assert sorted(table[1:]) == [
        ["c", "b", "2"], ["d", "nothing", "1"], ["nothing", "b", "1"], ["space", "nothing", "1"],
    ]  # fmt: skip
    perfect = good("eval", run, "--split", "validation", "--worst", 2).stdout
    assert "worst" not in perfect
    assert "hypothesis" not in perfect


def test_clips_without_names(tmp_path: Path) -> None:
    run = train(tmp_path, "{name: tones, names: false}")
    assert "name" not in found(run, "--worst", 1)["worst"][0]
    assert "\nworst 1: clip 2, 3 edits\n" in good("eval", run, "--worst", 1).stdout


def test_a_beam_search_with_a_language_model(run: Path, tmp_path: Path) -> None:
    plain, beam = found(run), found(run, "--decode", "beam=4")
    assert beam["decoder"] == {"method": "beam_search", "width": 4}
    assert beam["metrics"]["loss"] == plain["metrics"]["loss"]
    lm = tmp_path / "lm.arpa"
    write_arpa(estimate_ngrams(["d", "ab c", "ba cab d", "c"] * 3, 2), lm)
    result = found(run, "--decode", f"lm={lm},lm_weight=5,word_bonus=0")
    assert result["decoder"] == {
        "method": "beam_search", "width": 16, "language_model": str(lm), "weight": 5.0, "bonus": 0.0,
        "language_model_sha256": hash_file(lm),
    }  # fmt: skip
    assert result["metrics"]["loss"] == pytest.approx(plain["metrics"]["loss"])
    assert result["metrics"]["word_error_rate"] == pytest.approx(3 / 8)
    assert [one["clip"] for one in found(run, "--decode", f"lm={lm},lm_weight=5", "--worst", 9)["worst"]] == [2]
    told = good("eval", run, "--decode", f"lm={lm},beam=3").stdout
    assert told.startswith(f"test split of tones, beam search (width 3, {lm}, weight 0.5, bonus 1), checkpoint step-")
    told = good("eval", run, "--decode", "beam=2").stdout
    assert told.startswith("test split of tones, beam search (width 2), checkpoint")


def test_requirements_and_options(run: Path, tmp_path: Path) -> None:
    good("eval", run, "--require", "word_error_rate<=0.5")
    assert isinstance(call("eval", run, "--require", "word_error_rate<0.5").exception, RequirementNotMet)
    stray = call("eval", run, "--decode", "lm_weight=1")
    assert isinstance(stray.exception, UsageError)
    assert str(stray.exception).startswith("lm_weight goes with lm, which was not given\nnext: add lm=FILE")
    narrow = call("eval", run, "--decode", "beam=0")
    assert str(narrow.exception) == "--decode: beam: found '0'; allowed is an integer >= 1"
    missing = call("eval", run, "--decode", f"lm={tmp_path}/none.arpa")
    assert isinstance(missing.exception, DataError)
    assert "none.arpa: there is no such file\nnext: check its name" in str(missing.exception)


def test_a_language_model_of_words_needs_words(run: Path, tmp_path: Path) -> None:
    from dltrain.runs.clip_scoring import Decoding

    lm = tmp_path / "lm.arpa"
    write_arpa(estimate_ngrams(["a b"], 2), lm)
    with pytest.raises(UsageError, match=r"lm\.arpa: the alphabet has no space, so .*\nnext: leave it out"):
        Decoding(lm=str(lm)).decoder(["<blank>", "a"], print)


@pytest.mark.slow
@pytest.mark.parametrize("decode", ["beam=3", f"lm={__file__}"])
def test_a_task_that_writes_nothing_down(
    decode: str, write_settings: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["trainer"]["epochs"] = 1
    good("fit", write_settings(settings), "-o", tmp_path / "images", "-q")
    refused = call("eval", tmp_path / "images", "--decode", decode)
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == (
        f"{tmp_path}/images: --decode is for speech recognisers; the task 'image_classification' transcribes "
        "nothing\nnext: leave it out"
    )
    assert "decoder" not in json.loads(good("eval", tmp_path / "images", "--json").stdout)
