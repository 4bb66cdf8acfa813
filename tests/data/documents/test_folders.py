"""Labelled texts in folders: the same rows as in a table, and every way in which a folder can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dltrain.data.documents.dataset import LabelledTexts
from dltrain.data.documents.folders import read_class_folders
from dltrain.errors import DataError


def write(folder: Path, texts: dict[str, list[str]]) -> None:
    for label, each in texts.items():
        (folder / label).mkdir(parents=True)
        for number, text in enumerate(each):
            (folder / label / f"{number}.txt").write_text(f"{text}\n", encoding="utf-8")


TEXTS = {"ham": ["see you at lunch", "well, hello"], "spam": ["win money now", "money, money"]}


def test_texts_in_folders_are_encoded_as_those_of_a_table(tmp_path: Path) -> None:
    write(tmp_path / "mails", TEXTS)
    rows = [f'"{text}",{label}' for label, texts in TEXTS.items() for text in texts]
    (tmp_path / "mails.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    found = [
        LabelledTexts("labelled_text", 0, None, root=str(tmp_path), training=[name], validation=0.0, test=0.0)
        for name in ("mails", "mails.csv")
    ]
    assert found[0].assets == found[1].assets
    assert found[0].identities("training").tolist() == found[1].identities("training").tolist()
    assert found[0].name_examples("training", [0]) == [str(tmp_path / "mails" / "ham" / "0.txt")]
    first = read_class_folders(tmp_path / "mails").sha256
    (tmp_path / "mails" / "ham" / "0.txt").write_text("other")
    assert read_class_folders(tmp_path / "mails").sha256 != first


def test_faults_of_folders_name_the_folder_or_the_file(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no folders in it"):
        read_class_folders(tmp_path / "empty")
    (tmp_path / "empty" / "ham").mkdir()
    with pytest.raises(DataError, match=r"ham: no \.txt file in it"):
        read_class_folders(tmp_path / "empty")
    (tmp_path / "empty" / "ham" / "0.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"0\.txt: not UTF-8: byte 0xe9"):
        read_class_folders(tmp_path / "empty")
    with pytest.raises(DataError, match=r"absent \(plain or \.gz\): not found"):
        LabelledTexts("labelled_text", 0, None, root=str(tmp_path), training=["absent"])
