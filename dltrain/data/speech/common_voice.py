"""Common Voice releases, as Mozilla distributes them: https://commonvoice.mozilla.org/datasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dltrain.data.speech.manifests import CLIPS, DURATIONS, Clip, read_common_voice
from dltrain.data.speech.sources import ClipSource, Split
from dltrain.errors import DataError, UsageError

ADDRESS = "https://commonvoice.mozilla.org/datasets"
FOLDER = "common_voice"
"""The folder of the locales under a root, if they are not in the root itself."""
TABLES = ("train.tsv", "validated.tsv")
"""A folder with one of these is a locale."""
RELEASED: Mapping[Split, str] = {"training": "train", "validation": "dev", "test": "test"}
"""Common Voice's names of the splits."""


class CommonVoice(ClipSource):
    """One locale of a release: its own splits, or validated.tsv without the speakers of the test split."""

    has_sample = True

    def check_options(self, training: bool) -> None:
        options = self.options
        if options.train is not None or options.test is not None or isinstance(options.validation, str):
            raise UsageError(
                "data.train, data.validation, data.test: common_voice has tables of its own, chosen by data.splits; "
                "manifests are for data.name: audio."
            )
        if training and options.splits == "release" and options.validation is not None:
            raise UsageError(
                f"data.validation: {options.validation:g} is not used with data.splits: release, which validates on "
                "dev.tsv",
                advice="leave it out, or set data.splits: validated",
            )

    def check_present(self) -> None:
        find_locale(self.options.root, self.options.locale)

    @property
    def folder(self) -> Path:
        return find_locale(self.options.root, self.options.locale)

    def locate_manifest(self, split: Split) -> Path:
        table = "validated" if self.is_shared(split) else RELEASED[split]
        return self.folder / f"{table}.tsv"

    def is_shared(self, split: Split) -> bool:
        return self.options.splits == "validated" and split != "test"

    def read_clips(self, manifest: Path) -> tuple[list[Clip], list[Path]]:
        clips, files = read_common_voice(manifest.parent, manifest.stem), [manifest.parent / DURATIONS]
        test = manifest.with_name("test.tsv")
        if manifest.stem == "validated" and test.exists():
            files.append(test)
            tested = read_common_voice(test.parent, test.stem)
            names, speakers = {clip.name for clip in tested}, {clip.speaker for clip in tested} - {""}
            clips = [clip for clip in clips if clip.name not in names and clip.speaker not in speakers]
            if not clips:
                raise DataError(
                    f"{manifest}: all its clips are of the test split's speakers; none is left to train on."
                )
        return clips, [*files, manifest]

    def describe_missing(self, split: Split, manifest: Path) -> DataError:
        splits, other = self.options.splits, ""
        if split != "test" and splits == "validated":
            other = ", or set data.splits: release"
        elif split != "test" and manifest.with_name("validated.tsv").exists():
            other = ", or set data.splits: validated, which trains and validates on validated.tsv"
        return DataError(
            f"{manifest}: no such file; with data.splits: {splits} it has the {split} split", advice=f"add it{other}"
        )

    def list_check_arguments(self, split: Split) -> list[str]:
        locale = [] if self.options.locale == "en" else ["--locale", self.options.locale]
        return ["--root", str(self.folder), *locale]


def find_locale(root: Path, locale: str) -> Path:
    """Find the first of ROOT/common_voice/LOCALE, ROOT/LOCALE and ROOT that has tables. Raises DataError otherwise."""
    folders = (root / FOLDER / locale, root / locale, root)
    for folder in folders:
        if any((folder / table).exists() for table in TABLES):
            return folder
    tables = [*root.glob(f"{FOLDER}/*/train.tsv"), *root.glob("*/train.tsv")]
    others = sorted(path.parent.name for path in tables)
    available = f"; available locales: {', '.join(others)}" if others else ""
    raise DataError(
        f"{root}: no Common Voice release: neither train.tsv nor validated.tsv in "
        f"{', '.join(map(str, folders))}{available}.\n"
        f"Expected are the tables and a folder {CLIPS} in {folders[0]}. Mozilla distributes the corpus on request "
        f"({ADDRESS}): download it, then `dltrain data fetch common_voice --archive FILE.tar.gz`; "
        "or train on synthetic digits instead (data.when_missing=sample, or --sample)."
    )
