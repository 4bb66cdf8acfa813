"""Labelled texts: tables, tokens, splits, batches, the sample, the reader; each fault with its text."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dltrain.data import delimited
from dltrain.data.batching import order_by_length
from dltrain.data.delimited import parse_delimited, read_delimited
from dltrain.data.documents.batches import DocumentEncoder, DocumentSet, Tokenizer, learn_document_vocabulary
from dltrain.data.documents.dataset import LabelledTexts
from dltrain.data.documents.reader import TextReader
from dltrain.data.documents.rows import SAMPLE, SUBJECTS, read_sample_rows
from dltrain.data.text_files import scan_file
from dltrain.errors import DataError, UsageError
from dltrain.options import Fold
from support.documents import write_table


def dataset(root: Path, assets: dict[str, Any] | None = None, **options: Any) -> LabelledTexts:
    options = {"training": ["t.csv"], "root": str(root), **options}
    return LabelledTexts("labelled_text", 0, assets, **options)


def texts_of(stream: Any, words: list[str], epoch: int = 0) -> list[str]:
    """The texts of a stream, read back from their tokens."""
    return [
        " ".join(words[token] for token in row[:length])
        for batch in stream.epoch(epoch)
        for row, length in zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    ]


def refused(path: Path, content: str | bytes, **options: Any) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError) as caught:
        dataset(path.parent, training=[path.name], **options)
    return str(caught.value)


# --- tables


def test_quoted_fields_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbflabel, text \r\ngood,"one, ""two""\r\nthree"\r\n\r\nbad,four\r\n')
    table = read_delimited(scan_file(path))
    assert table.column("text", "data.text") == ['one, "two"\nthree', "four"]
    assert table.column("label", "data.label") == ["good", "bad"]
    assert table.lines == [2, 5]  # where each row begins


def test_the_forms_of_a_table_say_the_same(tmp_path: Path) -> None:
    for name, content in {
        "t.csv": 'text,label\n"a ""b""",1\nc,true\n',
        "t.tsv": 'text\tlabel\na "b"\t1\nc\ttrue\n',
        "t.jsonl": '{"text": "a \\"b\\"", "label": 1}\n\n{"label": true, "text": "c", "more": null}\n',
    }.items():
        (tmp_path / name).write_text(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
        for path in (tmp_path / name, tmp_path / f"{name}.gz"):
            table = read_delimited(scan_file(path))
            assert table.column("text", "data.text") == ['a "b"', "c"]
            assert table.column("label", "data.label") == ["1", "true"]


def test_long_fields_are_read_and_empty_lines_of_one_column_are_fields() -> None:
    assert parse_delimited(f"text\n{'x' * 200_000}\n", "t", ".csv").rows == [["x" * 200_000]]
    assert parse_delimited("text\na\n\nb\n\n\n", "t", ".csv").rows == [["a"], [""], ["b"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "the file is empty (0 bytes)"),
        ("t.csv", "text,label\n", "t.csv: no row in it; expected are the columns' names in the first line"),
        ("t.jsonl", "\n\n", "t.jsonl: no row in it; expected is one JSON object a line"),
        ("t.txt", "text,label\na,b\n", "ends in '.txt'; allowed are .csv, .tsv, .jsonl, plain or .gz"),
        ("t.csv", "text,label\na,b\nc,d,e\n", "line 3: 3 fields, but the first line has 2 (a separator within a field"),
        ("t.tsv", "text\tlabel\na\n", "line 2: 1 fields, but the first line has 2 (cut short?)"),
        ("t.csv", 'text,label\na,b\n"c,d\ne,f\n', "line 3: not CSV: unexpected end of data\nnext: correct the row"),
        ("t.csv", b"text,label\nok,a\n\xff,b\n", "line 3: not UTF-8: byte 0xff at offset 16"),
        ("t.csv", "txt,label\na,b\n", "no column 'text' (data.text); found 'txt', 'label'\ndid you mean 'txt'?"),
        ("t.csv", "text:label\na:b\n", "no column 'text' (data.text); found 'text:label'"),
        ("t.csv", "text;label\na;b\nc;b\n", "all texts have the label 'b'"),
        ("t.csv", "text,label,label\na,b,c\n", "2 columns are called 'label'\nnext: rename all but one"),
        ("t.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"}\n', "line 2: the label (label) is empty, or no text"),
        ("t.jsonl", '{"text": ["a"], "label": "b"}\n', "line 1: no value for 'text'"),
        ("t.jsonl", '{"text": "a", "label": "b"}\n{text: 1}\n', "line 2: not JSON: Expecting property name"),
        ("t.jsonl", "[1]\n", "line 1: expected a JSON object, found [1]"),
        ("t.csv", "text,label\na,x\nb,x\n", "all texts have the label 'x'; a classification needs two labels or more"),
        ("t.csv", "text,label\na,x\nb,\n", "t.csv, line 3: the label (label) is empty, or no text\nnext: fill it in"),
    ],
)  # fmt: skip
def test_faults_of_tables(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    assert message in refused(tmp_path / name, content, validation=0.0, test=0.0)


def test_a_quotation_mark_that_swallows_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "LONGEST_FIELD", 1000)
    content = 'text,label\na,b\n"c,d\n' + "e,f\n" * 1000
    assert "line 3: not CSV: field larger than field limit (1000)" in refused(tmp_path / "t.csv", content)


# --- tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't stop, it's 3.14!", ["don't", "stop", ",", "it's", "3.14", "!"]),
        ("a well-known  (old)\nword.", ["a", "well-known", "(", "old", ")", "word", "."]),
        ("snake_case e.g. -", ["snake_case", "e", ".", "g", ".", "-"]),
        ("L’été « bon »…", ["l’été", "«", "bon", "»", "…"]),
        ("नमस्ते। 你好，世界", ["नमस्ते", "।", "你好", "，", "世界"]),
        ("", []),
    ],
)  # fmt: skip
def test_words(text: str, tokens: list[str]) -> None:
    assert list(Tokenizer("word", lowercase=True, punctuation=True).tokenize(text)) == tokens


def test_white_space_alone_and_characters() -> None:
    assert list(Tokenizer("word", lowercase=False, punctuation=False).tokenize("Don't stop,\nit's")) == [
        "Don't", "stop,", "it's",
    ]  # fmt: skip
    assert list(Tokenizer("character", lowercase=False, punctuation=True).tokenize("aB\nc")) == ["a", "B", " ", "c"]


def test_vocabulary_and_encoding() -> None:
    cut = Tokenizer("word", lowercase=True, punctuation=True)
    words, unknown = learn_document_vocabulary(
        ["a a b", "a b c", ""], cut, max_tokens=10, min_count=2, max_vocabulary=None
    )
    assert (words, unknown) == (["<eos>", "a", "b", "<unk>"], "<unk>")
    assets = {**cut._asdict(), "max_tokens": 3, "words": words, "end": "<eos>", "unknown": unknown}
    encoder = DocumentEncoder(assets)
    assert encoder.encode("A z")[:4] == ([1, 3, 0], 2, 1, 2)
    assert encoder.encode("a b a")[:4] == ([1, 2, 1], 3, 0, 3)  # no room for the end
    assert encoder.encode("a b a b")[:4] == ([1, 2, 1], 3, 0, 4)
    assert encoder.encode(" \n")[:4] == ([0], 0, 0, 0)
    without = DocumentEncoder({**assets, "words": ["<eos>", "a", "b"], "unknown": None})
    assert without.encode("a z b")[:4] == ([1, 2, 0], 3, 1, 3)
    assert learn_document_vocabulary(["a b c d"], cut, max_tokens=2, min_count=1, max_vocabulary=None)[0] == [
        "a",
        "b",
        "<eos>",
    ]  # what is cut off is not counted
    assert learn_document_vocabulary(["a a b b b c"], cut, max_tokens=9, min_count=1, max_vocabulary=4) == (
        ["b", "a", "<eos>", "<unk>"],
        "<unk>",
    )


def test_padding() -> None:
    texts = DocumentSet.concatenate([[5, 6], [7], [8, 9, 4]], [0, 1, 2])
    batch = texts.batch(0, torch.tensor([2, 1, 0]))
    assert batch.tokens.tolist() == [[8, 9, 4], [7, 0, 0], [5, 6, 0]]
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.targets.tolist() == [2, 1, 0]
    assert len(DocumentSet.concatenate([], []).lengths) == 0


def test_batches_of_like_lengths_are_a_function_of_seed_and_epoch() -> None:
    lengths = numpy.random.default_rng(0).integers(1, 200, 1003)
    order = order_by_length(lengths, 10, 0, 3)
    assert sorted(order.tolist()) == list(range(1003))
    numpy.testing.assert_array_equal(order, order_by_length(lengths, 10, 0, 3))
    assert not numpy.array_equal(order, order_by_length(lengths, 10, 0, 4))
    assert not numpy.array_equal(order, order_by_length(lengths, 10, 1, 3))
    batches = lengths[order][:1000].reshape(100, 10)
    shuffled = numpy.random.default_rng(1).permutation(lengths)[:1000].reshape(100, 10)
    assert batches.max(1).sum() * 10 < 1.05 * batches.sum() < shuffled.max(1).sum() * 10 / 1.5
    assert (numpy.diff(batches.max(1)) < 0).sum() > 30  # the batches themselves stand in no order of length


# --- the dataset


def test_splits_are_stratified_and_disjoint(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    data = dataset(tmp_path, validation=0.2, test=0.25, batch_size=7)
    streams = data.training(), data.validation(), data.test()
    targets = [torch.cat([batch.targets for batch in stream.epoch(0)]) for stream in streams]
    assert [len(each) for each in targets] == [36, 9, 15]  # a fifth of what test leaves
    assert [torch.bincount(each).tolist() for each in targets] == [[12] * 3, [3] * 3, [5] * 3]
    assert len(streams[0]) == 6
    assert data.assets["labels"] == ["a", "b", "c"]
    assert data.name == "labelled_text"
    assert data.notice is None
    assert data.fingerprint == {"t.csv": hashlib.sha256((tmp_path / "t.csv").read_bytes()).hexdigest()}
    found = Counter(text for stream in streams for text in texts_of(stream, data.assets["words"]))
    rows = [line.split(",")[0] for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    known = set(data.assets["words"])
    assert found == Counter(" ".join([*(w if w in known else "<unk>" for w in row.split()), "<eos>"]) for row in rows)


def test_the_vocabulary_is_that_of_the_training_rows(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", 30)
    (tmp_path / "v.csv").write_text("text,label\nzebra zebra zebra apple,a\n")
    (tmp_path / "e.csv").write_text("text,label\nyak yak apple,b\n")
    data = dataset(tmp_path, training=["t.csv"], validation=["v.csv"], test=["e.csv"])
    words = data.assets["words"]
    assert not {"zebra", "yak"} & set(words)
    assert "<unk>" in words
    assert texts_of(data.validation(), words) == ["<unk> <unk> <unk> apple <eos>"]
    assert texts_of(data.test(), words) == ["<unk> <unk> apple <eos>"]
    assert sum(len(batch.targets) for batch in data.training().epoch(0)) == 30
    assert data.fingerprint.keys() == {"t.csv", "v.csv", "e.csv"}
    shared = dataset(tmp_path, training=[path.name])
    texts = texts_of(shared.training(), shared.assets["words"])
    assert set(" ".join(texts).split()) >= set(shared.assets["words"]) - {"<unk>"}


def test_a_checkpoints_assets_are_enough(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    first = dataset(tmp_path)
    kept = json.loads(json.dumps(first.assets))
    second = dataset(tmp_path, kept)
    assert second.fingerprint == {}  # nothing has been read
    for name in ("validation", "test"):
        streams = getattr(first, name)(), getattr(second, name)()
        for one, other in zip(*(stream.epoch(0) for stream in streams), strict=True):
            assert torch.equal(one.tokens, other.tokens)
            assert torch.equal(one.targets, other.targets)


def test_batches_by_position(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    stream = dataset(tmp_path, batch_size=5).training()
    whole = list(stream.epoch(2))
    late = list(stream.epoch(2, start=4))
    assert len(late) == len(whole) - 4
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(whole[4:], late, strict=True))
    assert not torch.equal(whole[0].tokens, next(stream.epoch(3)).tokens)


def test_folds_hold_every_text_once(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    held: list[str] = []
    for index in range(4):
        data = dataset(tmp_path, fold=Fold(index, 4), min_count=1, test=["absent.csv"])
        test = texts_of(data.test(), data.assets["words"])
        rest = texts_of(data.training(), data.assets["words"]) + texts_of(data.validation(), data.assets["words"])
        assert (len(test), len(rest)) == (15, 45)
        assert torch.bincount(next(data.test().epoch(0)).targets).tolist() == [5] * 3
        held += test
    rows = [line.split(",")[0] for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    assert sorted(held) == sorted(f"{row} <eos>" for row in rows)


@pytest.mark.parametrize("fold", [None, Fold(1, 3)])
def test_groups_stay_together(fold: Fold | None, tmp_path: Path) -> None:
    lines = [f"word{author} {'b' if number % 2 else 'a'},{number % 2},{author}"
             for author in range(20) for number in range(4)]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(["text,label,author", *lines]))
    data = dataset(tmp_path, group="author", fold=fold, min_count=1, validation=0.2, test=0.2)
    # The vocabulary is that of the training rows, so a word of another split that it had would show.
    authors = {word for word in data.assets["words"] if word.startswith("word")}
    assert 0 < len(authors) < 20
    assert all("word" not in text for stream in (data.validation(), data.test())
               for text in texts_of(stream, data.assets["words"]))  # fmt: skip
    counts = [sum(batch.count for batch in s.epoch(0)) for s in (data.training(), data.validation(), data.test())]
    assert counts == ([52, 12, 16] if fold is None else [40, 12, 28])


def test_labels_are_ordered_as_numbers_where_they_are_some(tmp_path: Path) -> None:
    rows = "".join(f"t,{label}\n" for label in ("10", "-1", "good", "2", "bad", "²") for _ in range(3))
    (tmp_path / "t.csv").write_text("text,label\n" + rows)
    assert dataset(tmp_path).assets["labels"] == ["-1", "2", "10", "bad", "good", "²"]


def test_characters_without_unknown_ones(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\nab,x\nba,y\n")
    (tmp_path / "v.csv").write_text("text,label\nazb,x\n")
    data = dataset(tmp_path, validation=["v.csv"], test=0.0, unit="character")
    assert data.assets["unknown"] is None
    assert texts_of(data.validation(), data.assets["words"]) == ["a b <eos>"]


def test_empty_texts_are_kept_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(["a b,x", ",y", " ,x", "b a,y", '"\n",x', '"",y']))
    data = dataset(tmp_path, validation=0.0, test=0.0)
    path = tmp_path / "t.csv"
    assert data.notice == (
        f"empty texts, read as <eos> alone: {path}, line 3; {path}, line 4; {path}, line 6; and 1 more"
    )
    assert texts_of(data.training(), data.assets["words"]).count("<eos>") == 4
    assert len(data.validation()) == 0


def test_unknown_labels_of_later_splits(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    (tmp_path / "v.csv").write_text("text,label\napple,a\nbread,bb\n")
    with pytest.raises(DataError) as caught:
        dataset(tmp_path, validation=["v.csv"]).validation()
    assert str(caught.value) == (
        f"{tmp_path / 'v.csv'}, line 3: the label 'bb' does not occur in the training files; allowed are a, b, c\n"
        "did you mean 'b'?\nnext: correct the label, or add texts with it to the training files"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 0.9}, "t.csv: data.validation=0.9 of 3 rows leaves none to train on\nnext: give another share"),
        ({"test": 0.1}, "t.csv: data.test=0.1 of 4 rows is no row\nnext: give another share, or 0 for no test split"),
        ({"test": 0.1, "group": "author"}, "t.csv: data.test=0.1 of 2 groups of rows is no row\n"),
    ],
)  # fmt: skip
def test_shares_that_leave_nothing(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", 4)
    with pytest.raises(DataError) as caught:
        dataset(tmp_path, **{"test": 0.25, **options})
    assert str(caught.value).startswith(message)


def test_missing_files_and_no_test_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t.csv \(plain or .gz\): not found in .*\nnext: correct the name"):
        dataset(tmp_path)
    write_table(tmp_path / "t.csv")
    with pytest.raises(UsageError, match=r"^data.test is 0: there is no test split\nnext: evaluate with --split valid"):
        dataset(tmp_path, test=0.0).test()
    with pytest.raises(UsageError, match=r"^data.test is 0: there is no test split\nnext: train with data.test as a"):
        dataset(tmp_path, test=0.0, validation=0.0).test()
    with pytest.raises(DataError, match=r"no column 'athor' \(data.group\)[^\n]*\ndid you mean 'author'"):
        dataset(tmp_path, group="athor")
    with pytest.raises(DataError, match="40 folds need as many examples of the rarest class, found 20"):
        dataset(tmp_path, fold=Fold(0, 40))


# --- the sample


def test_the_sample_says_what_it_is(tmp_path: Path) -> None:
    data = dataset(tmp_path, when_missing="sample")
    assert data.name == SAMPLE.name
    assert data.name.startswith("Python sentences sample (Python 3.")
    assert data.notice is not None
    assert data.notice.startswith("NOT YOUR DATA: this uses the Python sentences sample")
    assert "t.csv (plain or .gz): not found" in data.notice
    assert data.assets["labels"] == sorted(SUBJECTS)
    again = dataset(tmp_path, json.loads(json.dumps(data.assets)))
    assert again.name == data.name
    assert again.notice is not None
    assert again.notice.endswith("as in this model's training. Its results say nothing about your data.")
    older = dataset(tmp_path, {**data.assets, "dataset": "Python sentences sample (Python 3.1)"}).notice
    assert str(older).endswith(
        "training on another version: Python sentences sample (Python 3.1). Its results say nothing about your data."
    )
    for one, other in zip(data.test().epoch(0), again.test().epoch(0), strict=True):
        assert torch.equal(one.tokens, other.tokens)
    assert data.fingerprint == again.fingerprint
    write_table(tmp_path / "t.csv")
    assert dataset(tmp_path, when_missing="sample").name == "labelled_text"
    asked = dataset(tmp_path, sample=True, validation=["v.csv"])
    assert asked.notice is not None
    assert asked.notice.endswith("as requested. Its results say nothing about your data.")
    assert len(asked.validation()) > 0


def test_sentences_of_a_paragraph_stay_together(tmp_path: Path) -> None:
    sentences = read_sample_rows()
    assert len({sentence.text for sentence in sentences}) == len(sentences) > 1000
    assert set(SUBJECTS) == {sentence.label for sentence in sentences}
    data = dataset(tmp_path, when_missing="sample", validation=0.2, test=0.2)
    splits = data._splits
    assert splits.test is not None
    paragraphs = [{row.group for row in rows} for rows in (splits.training, splits.validation, splits.test)]
    assert not paragraphs[0] & paragraphs[1] | paragraphs[0] & paragraphs[2] | paragraphs[1] & paragraphs[2]
    assert len(splits.test) == pytest.approx(0.2 * len(sentences), rel=0.1)


def test_the_sample_needs_pythons_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydoc_data.topics", None)
    with pytest.raises(UsageError, match="the Python sentences sample comes with Python's documentation"):
        dataset(tmp_path, sample=True)


# --- the reader


def test_texts_from_files_tables_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.csv")
    data = dataset(tmp_path, text="text", max_tokens=4)
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_bytes(b"apple fig\r\n\nbread zebra zebra zebra zebra\n")
    Path("more.csv").write_text('id,text\n1,"fig,\negg"\n2,dill\n')
    reader = TextReader(json.loads(json.dumps(data.assets)))
    given = list(reader.read(["lines.txt", "-", "more.csv", "absent.txt"], iter(["egg\n", "fig"])))
    assert [one.name for one in given] == [
        "lines.txt:1", "lines.txt:2", "lines.txt:3", "-:1", "-:2", "more.csv:2", "more.csv:4", "absent.txt",
    ]  # fmt: skip
    assert str(given[-1].value) == "absent.txt: cannot be read (No such file or directory)."
    tokens, lengths = reader.inputs([one.value for one in given[:-1]])
    words = data.assets["words"]
    read = [" ".join(words[t] for t in row[:n]) for row, n in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    assert read == [
        "apple fig <eos>", "<eos>", "bread <unk> <unk> <unk>", "egg <eos>", "fig <eos>", "fig <unk> egg <eos>",
        "dill <eos>",
    ]  # fmt: skip
    assert reader.notes() == [
        "4 of 12 words (33%) are not in the vocabulary of the training texts", "1 of 7 texts were cut after 4 words",
    ]  # fmt: skip
    assert TextReader(data.assets).notes() == []


def test_a_table_without_the_column(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    reader = TextReader(dataset(tmp_path).assets)
    (tmp_path / "other.csv").write_text("body,id\na,1\n")
    (given,) = reader.read([str(tmp_path / "other.csv")], iter(()))
    assert str(given.value) == (
        f"{tmp_path}/other.csv: no column 'text' (data.text in training); found 'body', 'id'\n"
        "next: call the column with the texts 'text', as in training"
    )
    assert given.whole_file


def test_a_ragged_row_is_refused_alone(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv")
    reader = TextReader(dataset(tmp_path).assets)
    file = tmp_path / "other.csv"
    file.write_text("text,id\na,1\nb\nc,3\n")
    first, second, refused = reader.read([str(file)], iter(()))
    assert (first.name, second.name) == (f"{file}:2", f"{file}:4")
    assert refused.name == f"{file}:3"
    assert "other.csv, line 3: 1 fields, but the first line has 2 (cut short?)" in str(refused.value)
    assert not refused.whole_file
