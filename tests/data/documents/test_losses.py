"""Texts and labels that look the same are the same; what is lost of texts is reported; so are texts trained on."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dltrain.data.cleaning import compose_text
from dltrain.data.delimited import read_delimited
from dltrain.data.documents.batches import DocumentEncoder
from dltrain.data.documents.dataset import LabelledTexts
from dltrain.data.documents.reader import TextReader
from dltrain.data.text.files import TextFiles
from dltrain.data.text.vocabulary import Vocabulary
from dltrain.data.text_files import scan_file
from dltrain.errors import DataError

ACCENTS = ["génial", "médiocre"]


def write(path: Path, rows: Sequence[tuple[str, str]]) -> str:
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows), encoding="utf-8")
    return path.name


def built(root: Path, training: str, assets: Mapping[str, Any] | None = None, **options: Any) -> LabelledTexts:
    options = {"min_count": 1, "validation": 0.2, "test": 0.0, **options}
    return LabelledTexts("labelled_text", 0, assets, training=[training], root=str(root), **options)


def opened(dataset: LabelledTexts) -> LabelledTexts:
    dataset.training(), dataset.validation()
    return dataset


def tokens_of(stream: Any) -> list[list[int]]:
    return sorted(row for batch in stream.epoch(0) for row in batch.tokens.tolist())


def test_labels_are_stripped(tmp_path: Path) -> None:
    labels = ["pos", "pos ", " pos", "pos\u00a0", "\ufeffpos", "neg", "neg\t", "n\u200beg", "neg\u200b "]
    name = write(tmp_path / "t.csv", [(f"word{number}", label) for number, label in enumerate(labels * 3)])
    assert built(tmp_path, name).assets["labels"] == ["neg", "pos"]


def test_a_whole_number_is_one_label(tmp_path: Path) -> None:
    name = write(tmp_path / "t.csv", [(f"word{number}", ["1", "1.0", "0"][number % 3]) for number in range(30)])
    assert built(tmp_path, name).assets["labels"] == ["0", "1"]


def test_missing_labels_are_counted_and_can_be_dropped(tmp_path: Path) -> None:
    name = write(tmp_path / "t.csv", [("word", ["a", "b", "", " "][number % 4]) for number in range(40)])
    with pytest.raises(
        DataError, match=r"^20 of 40 rows have no label \(label\): .*t.csv, line 4; .*line 5;"
    ) as caught:
        built(tmp_path, name)
    assert str(caught.value).endswith("leave these rows out with data.missing_label: drop")
    dataset = opened(built(tmp_path, name, missing_label="drop"))
    assert (dataset.notice or "").splitlines()[0] == "20 rows without a label are dropped"
    assert [split.examples for split in dataset.summarize().splits] == [16, 4]
    dropped = dataset.summarize().treatments[-1]
    assert (dropped.count, dropped.total, dropped.option) == (20, 40, "data.missing_label")
    rows = ['{"text": "a", "label": "x"}', '{"text": "b", "label": null}', '{"text": "c", "label": "y"}']
    (tmp_path / "t.jsonl").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"t.jsonl, line 2: the label \(label\) is empty, or no text"):
        built(tmp_path, "t.jsonl")
    assert built(tmp_path, "t.jsonl", missing_label="drop", validation=0.0).assets["labels"] == ["x", "y"]


def test_labels_that_contradict_or_mean_nothing_are_named(tmp_path: Path) -> None:
    name = write(tmp_path / "t.csv", [(f"word {number % 5}", ["good", "nan"][number % 2]) for number in range(40)])
    notice = (opened(built(tmp_path, name, validation=0.0)).notice or "").splitlines()
    assert notice == [
        "the label 'nan' is a class; if it means none, leave those rows out",
        "training: 5 texts have several labels ('word 0', 'word 1', ...)",
    ]


def test_texts_and_labels_are_composed_in_every_place(tmp_path: Path) -> None:
    rows = [(f"un film {ACCENTS[number % 2]}", ACCENTS[number % 2]) for number in range(40)]
    apart = [tuple(unicodedata.normalize("NFD", field) for field in row) for row in rows]
    names = [write(tmp_path / "nfc.csv", rows), write(tmp_path / "nfd.csv", apart)]  # type: ignore[arg-type]
    both = [built(tmp_path, name, test=[other]) for name, other in zip(names, reversed(names), strict=True)]
    assert both[0].assets == both[1].assets
    for dataset in both:
        assert dataset.assets["labels"] == ACCENTS
        assert tokens_of(dataset.test()) == tokens_of(both[0].test())
        assert "test" in dataset.notice  # only that they are training texts
        assert "unknown" not in dataset.notice
        assert built(tmp_path, names[1], dataset.assets, test=[names[1]]).identities("test").tolist() == (
            dataset.identities("test").tolist()
        )
    reader = TextReader(both[0].assets)
    assert [one.value for one in reader.read([str(tmp_path / "nfd.csv")], iter(()))] == [
        one.value for one in TextReader(both[0].assets).read([str(tmp_path / "nfc.csv")], iter(()))
    ]
    assert reader.notes() == []


def test_runs_of_an_earlier_version_read_texts_and_labels_as_before(tmp_path: Path) -> None:
    rows = [
        (f"{'bad' if number % 2 else 'good'} {number % 3}", "np"[number % 2] + " " * (number % 3))
        for number in range(60)
    ]
    name = write(tmp_path / "t.csv", rows)
    labels = sorted({label for _, label in rows})
    former = {
        **{key: value for key, value in built(tmp_path, name).assets.items() if key != "unicode"},
        "labels": labels,
    }
    again = opened(built(tmp_path, name, former))
    assert sum(again.summarize().splits[0].classes.values()) == 48
    assert set(again.summarize().splits[0].classes) == {"n", "n ", "n  ", "p", "p ", "p  "}


def test_truncated_texts_are_counted_by_split(tmp_path: Path) -> None:
    rows = [("word " * (3 + number % 4), "np"[number % 2]) for number in range(40)]
    name = write(tmp_path / "t.csv", rows)
    dataset = opened(built(tmp_path, name, max_tokens=4))
    cut = sum(3 + number % 4 > 4 for number in range(40))
    counted = [one.count for one in dataset.summarize().treatments if one.option == "data.max_tokens"]
    assert (sum(counted), dataset.summarize().facts["texts"].split(", ")[1]) == (cut, "the longest 6")
    notice = (dataset.notice or "").splitlines()
    assert notice[0] == f"training: {counted[0]} of 32 texts are cut after 4 words (data.max_tokens); the longest has 6"
    assert notice[1].startswith(f"validation: {counted[1]} of 8 texts are cut after 4 words")
    evaluated = built(tmp_path, name, dataset.assets, test=[name])
    evaluated.test()
    assert f"test: {cut} of 40 texts are cut after 4 words (data.max_tokens); the longest has 6" in (
        evaluated.notice or ""
    )


def test_scripts_without_spaces_are_unknown_words_and_known_characters(tmp_path: Path) -> None:
    letters = "电影的剧情和演员我们看了今天在家里"
    rows = [("".join(letters[(number * step) % 17] for step in range(1, 12)) + "好坏"[number % 2], "np"[number % 2])
            for number in range(40)]  # fmt: skip
    name = write(tmp_path / "t.csv", [(f"{text}{number}", label) for number, (text, label) in enumerate(rows)])
    notice = opened(built(tmp_path, name, min_count=2)).notice or ""
    assert "validation: 8 of 8 words (100%) are not in the vocabulary of the training texts" in notice
    assert "a script without spaces between words needs data.unit: character" in notice
    assert opened(built(tmp_path, name, unit="character")).notice is None
    reader = TextReader(built(tmp_path, name, min_count=2).assets)
    list(reader.read(["-"], iter(["今天在家里看电影\n"])))
    assert reader.notes()[0].endswith("; a script without spaces between words needs data.unit: character")


def test_labels_that_differ_in_case_are_named(tmp_path: Path) -> None:
    name = write(tmp_path / "t.csv", [(f"a{n % 3}", ["New York", "new  york", "Oslo"][n % 3]) for n in range(30)])
    notice = opened(built(tmp_path, name)).notice
    assert notice == "the labels 'New York', 'new  york' are different classes; are they meant to be one?"


@pytest.mark.parametrize("separate", [True, False])
def test_test_texts_that_were_trained_on_are_counted(separate: bool, tmp_path: Path) -> None:
    rows = [(f"text {number}", "np"[number % 2]) for number in range(40)]
    name = write(tmp_path / "t.csv", rows if separate else [rows[0], rows[1]] * 20)
    write(tmp_path / "u.csv", [(" text 1 ", "p "), ("text 1", "n"), ("text 99", "n"), ("text 2", "n")])
    trained = built(tmp_path, name, test=["u.csv"] if separate else 0.2)
    assert trained.notice is None
    evaluated = built(tmp_path, name, trained.assets, test=["u.csv"] if separate else 0.2)
    evaluated.test()
    count, total = (2, 4) if separate else (8, 8)
    expected = f"test: {count} of {total} texts are in the training data too, so that scores are too good"
    assert expected in (evaluated.notice or "")
    if separate:
        assert set(evaluated.fingerprint) == {"u.csv"}
        (tmp_path / name).unlink()
        evaluated = built(tmp_path, name, trained.assets, test=["u.csv"])
        evaluated.test()
        assert "training data" not in (evaluated.notice or "")


def test_text_for_language_models_is_composed_and_unknown_words_are_reported(tmp_path: Path) -> None:
    lines = [f"un film {ACCENTS[number % 2]}" for number in range(100)]
    options: dict[str, Any] = {"root": str(tmp_path), "batch_size": 2, "cache": str(tmp_path / "cache")}
    for form in ("NFC", "NFD"):
        (tmp_path / form).write_text(unicodedata.normalize(form, "\n".join(lines)) + "\n", encoding="utf-8")
    one, other = (TextFiles("text", 0, None, training=[form], **options) for form in ("NFC", "NFD"))
    assert one.assets == other.assets
    assert Vocabulary(one.assets).encode(unicodedata.normalize("NFD", "génial")).unknown == []
    former = {key: value for key, value in one.assets.items() if key != "unicode"}
    before = TextFiles("text", 0, former, training=["NFD"], **options)
    before.validation()
    assert before.notice is not None
    assert before.notice.startswith("validation: 10 of 40 words (25%) are or become <unk>, so that its perplexity says")
    one.validation()
    assert one.notice is None


# Texts that look the same, and rows that do not belong -----------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("oo", "o\u200bo"),  # a space of no width, as web pages have them
        lambda text: text.replace("oo", "o\u00ado"),  # a soft hyphen
        lambda text: "\ufeff" + text.replace("oo", "o\ufeffo"),
        lambda text: text.replace("isn't", "isn\u2019t").replace('"', "\u201d"),
        lambda text: text.replace("\u2764", "\u2764\ufe0f"),
    ],
)
def test_texts_that_look_the_same_are_read_as_the_same(change: Callable[[str], str], tmp_path: Path) -> None:
    plain = 'good film, isn\'t it "good" \u2764'
    name = write(tmp_path / "t.csv", [(f'"{plain.replace(chr(34), chr(34) * 2)}"', "pos"), ("bad", "neg")] * 5)
    encoder = DocumentEncoder(built(tmp_path, name).assets)
    assert encoder.encode(change(plain)) == encoder.encode(plain)
    assert encoder.encode(plain).unknown == 0


def test_words_that_a_space_of_no_width_separates_stay_apart() -> None:
    assert compose_text("\u1780\u200b\u1781 a\u200bb \u0643\u200c\u0645") == "\u1780\u200b\u1781 ab \u0643\u200c\u0645"


def test_texts_that_differ_in_case_and_white_space_contradict_each_other(tmp_path: Path) -> None:
    rows = [("good film", "pos"), ("Good  film ", "neg"), *[("a", "pos"), ("b", "neg")] * 4]
    notice = opened(built(tmp_path, write(tmp_path / "t.csv", rows), validation=0.0)).notice or ""
    assert "training: 1 texts have several labels ('Good  film ')" in notice


def test_labels_within_texts_and_several_in_one_label_are_named(tmp_path: Path) -> None:
    rows = [("__label__a one", "a"), ("two", "b"), ("three", '"a,b"')] * 4
    notice = opened(built(tmp_path, write(tmp_path / "t.csv", rows), validation=0.0)).notice or ""
    assert "training: 4 of 12 texts have __label__ in them, which gives the label away (" in notice
    assert "the label 'a,b' is a class of its own; one text has one label, so leave one in each row" in notice
    plain = opened(
        built(tmp_path, write(tmp_path / "t.csv", [("one", '"a, or b"'), ("two", "a")] * 6), validation=0.0)
    ).notice
    assert "class of its own" not in (plain or "")


def test_names_of_columns_within_a_file_are_an_error(tmp_path: Path) -> None:
    name = write(tmp_path / "t.csv", [("one", "a"), ("text", "label"), ("two", "b")])
    with pytest.raises(DataError, match=r"line 3: the columns' names again, as where files were joined\nnext: remove"):
        built(tmp_path, name)


def test_lines_may_end_as_on_an_old_macintosh(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_bytes(b"text,label\rone,a\rtwo,b\r")
    table = read_delimited(scan_file(tmp_path / "old.csv"))
    assert (table.columns, table.lines, table.rows) == (("text", "label"), [2, 3], [["one", "a"], ["two", "b"]])


def test_other_bytes_on_standard_input_are_an_error_of_their_line(tmp_path: Path) -> None:
    assets = built(tmp_path, write(tmp_path / "t.csv", [("good", "pos"), ("bad", "neg")] * 5)).assets
    lines = iter([b"good\n".decode(), b"m\xe9diocre\n".decode(errors="surrogateescape"), "bad\n"])
    found = [one.value for one in TextReader(assets).read(["-"], lines)]
    assert str(found[1]) == "-:2: not UTF-8: byte 0xe9\nnext: convert it to UTF-8 (iconv)"
    assert [isinstance(one, list) for one in found] == [True, False, True]
