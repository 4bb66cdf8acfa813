"""EMNIST: its files as they are published, on small ones of the same format."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from dltrain.data.images.check_idx import verify
from dltrain.data.images.mnist import IDXImages
from dltrain.data.images.sets import IMAGE_SETS, fetch
from dltrain.data.mirrors import Remote
from dltrain.errors import DataError
from support.images import write_emnist, write_idx
from support.mirrors import QuietHandler, serve

VARIANTS = [name for name in IMAGE_SETS if name.startswith("emnist")]


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_are_turned_upright_and_labels_are_counted_from_0(tmp_path: Path, variant: str) -> None:
    written = write_emnist(tmp_path, variant, training=130, test=70)
    dataset = IDXImages(variant, 0, None, root=str(tmp_path), download=False, normalize="unit", validation=0.0)
    batches = list(dataset.test().epoch(0))
    images, labels = written["test"]
    found = torch.cat([batch.inputs for batch in batches])[:, 0]
    torch.testing.assert_close(found, torch.from_numpy(images).float() / 255)
    assert torch.cat([batch.targets for batch in batches]).tolist() == labels.tolist()
    assert dataset.assets["labels"][-1] == {"emnist_balanced": "t", "emnist_bymerge": "t"}.get(
        variant, "z" if len(dataset.assets["labels"]) > 10 else "9"
    )
    assert all(report.fault is None for report in verify(variant, tmp_path))


@pytest.mark.parametrize(
    ("variant", "classes"),
    [("balanced", 47), ("byclass", 62), ("bymerge", 47), ("digits", 10), ("letters", 26), ("mnist", 10)],
)
def test_the_published_numbers_of_classes(variant: str, classes: int) -> None:
    """Cohen et al. 2017, table II."""
    labels = IMAGE_SETS[f"emnist_{variant}"].labels
    assert labels is not None
    assert len(set(labels)) == len(labels) == classes


@pytest.mark.parametrize("label", [0, 27])
def test_a_letter_that_is_none_is_named(tmp_path: Path, label: int) -> None:
    write_emnist(tmp_path)
    labels = numpy.arange(104) % 26 + 1
    labels[3] = label
    write_idx(tmp_path / "EMNIST" / "raw" / "emnist-letters-train-labels-idx1-ubyte", labels)
    with pytest.raises(DataError, match=rf"label {label} at index 3; allowed are 1\.\.26"):
        IDXImages("emnist_letters", 0, None, root=str(tmp_path), download=False)
    assert [report.fault is not None for report in verify("emnist_letters", tmp_path)] == [False, True, False, False]


def test_the_archive_of_all_sets_is_fetched_and_one_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, served = tmp_path / "sources", tmp_path / "served"
    served.mkdir()
    write_emnist(sources)
    with zipfile.ZipFile(served / "gzip.zip", "w") as archive:
        for path in sorted((sources / "EMNIST" / "raw").iterdir()):
            archive.writestr(f"gzip/{path.name}.gz", gzip.compress(path.read_bytes()))
            archive.writestr(f"gzip/{path.name.replace('letters', 'digits')}.gz", b"another set")
    content = (served / "gzip.zip").read_bytes()

    class Handler(QuietHandler):
        def answer(self) -> None:
            self.send_head(len(content))
            self.wfile.write(content)

    remote = Remote("gzip.zip", None, "md5", hashlib.md5(content, usedforsecurity=False).hexdigest())
    known = {**IMAGE_SETS, "emnist_letters": replace(IMAGE_SETS["emnist_letters"], archive=remote)}
    monkeypatch.setattr("dltrain.data.images.sets.IMAGE_SETS", known)
    with serve(Handler) as address:
        paths = fetch("emnist_letters", tmp_path / "data", [address])
    names = [name for split in IMAGE_SETS["emnist_letters"].splits.values() for name in split]
    assert [path.name for path in paths] == [f"{name}.gz" for name in names]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(f"{name}.gz" for name in names)
    dataset = IDXImages("emnist_letters", 0, None, root=str(tmp_path / "data"), download=False)
    assert sum(batch.count for batch in dataset.test().epoch(0)) == 52
