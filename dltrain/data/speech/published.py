"""LibriSpeech and Speech Commands, as their authors publish them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from dltrain.data.mirrors import Progress, PublishedFiles, Remote
from dltrain.data.packed import fetch_packed
from dltrain.data.speech.manifests import Clip, check_not_empty
from dltrain.data.speech.sources import ClipSource, SourceOptions, Split
from dltrain.errors import DataError, UsageError

VALIDATION, TEST = "validation_list.txt", "testing_list.txt"
NOISE = "_background_noise_"
"""The folder of Speech Commands that has recordings of noise, and no words."""

LIBRISPEECH_MIRRORS = ("https://www.openslr.org/resources/12/", "https://us.openslr.org/resources/12/")
SUBSETS: Mapping[str, str] = {
    "dev-clean": "42e2234ba48799c1f50f24a7926300a1",
    "dev-other": "c8d0bcc9cca99d4f8b62fcc847357931",
    "test-clean": "32fa31d27d2e1cad72775fee3f4849a9",
    "test-other": "fb5a50374b501bb3bac4815ee91d3135",
    "train-clean-100": "2a93770f6d5c6c964bc36631d331a522",
    "train-clean-360": "c0e676e450a7ff2f54aeade5171606fa",
    "train-other-500": "d1a0fd59409feb2c614ce4d30c387708",
}
"""The MD5 of each subset's archive, as https://www.openslr.org/resources/12/md5sum.txt lists them."""
USUAL: Mapping[Split, str] = {"training": "train-clean-100", "validation": "dev-clean", "test": "test-clean"}

COMMANDS_MIRRORS = (
    "https://storage.googleapis.com/download.tensorflow.org/data/",
    "http://download.tensorflow.org/data/",
)
COMMANDS = Remote(
    "speech_commands_v0.02.tar.gz",
    2428923189,
    "sha256",
    "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
)


def locate_published(name: str, root: Path) -> PublishedFiles:
    """Where the folders of a corpus may be under `root`."""
    if name == "librispeech":
        return PublishedFiles(
            name=name,
            folders=(root / "LibriSpeech", root),
            count="three",
            mirrors=LIBRISPEECH_MIRRORS,
            of_folders=True,
        )
    own = ("speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02")
    folders = (*(root / folder for folder in own), root)
    return PublishedFiles(name=name, folders=folders, count="two", mirrors=COMMANDS_MIRRORS)


class PublishedSpeech(ClipSource):
    """A published corpus, whose splits are its own but for a share of the training clips, `data.validation`."""

    name: str

    def __init__(self, options: SourceOptions) -> None:
        super().__init__(options)
        self.files = locate_published(self.name, options.root)

    def is_shared(self, split: Split) -> bool:
        return split != "test" and isinstance(self.options.validation, float)

    def describe_missing(self, split: Split, manifest: Path) -> DataError:
        return DataError(
            f"{manifest.name}: not found in {', '.join(map(str, self.files.folders))}; it has the {split} split",
            advice=f"{self._offer(manifest.name)}, or set data.root to the folder that has it",
        )

    def _offer(self, missing: str) -> str:
        """How to get what is missing."""
        return f"run `dltrain data fetch {self.name} --root {self.options.root}`"

    def list_check_arguments(self, split: Split) -> list[str]:
        return ["--root", str(self.options.root)]


class LibriSpeech(PublishedSpeech):
    """Panayotov et al. 2015: SUBSET/READER/CHAPTER/READER-CHAPTER-NUMBER.flac, and READER-CHAPTER.trans.txt beside."""

    name = "librispeech"

    def check_options(self, training: bool) -> None:
        """Any subset may be any split."""

    def locate_manifest(self, split: Split) -> Path | None:
        options = self.options
        own = {"training": options.train, "validation": options.validation, "test": options.test}[split]
        subset = options.train if self.is_shared(split) else own
        name = str(subset or USUAL["training" if self.is_shared(split) else split])
        return self.files.find(name) or self.files.folders[0] / name

    def _offer(self, missing: str) -> str:
        if missing in USUAL.values() or missing not in SUBSETS:
            return super()._offer(missing)
        return f"unpack {missing}.tar.gz (MD5 {SUBSETS[missing]}) of {LIBRISPEECH_MIRRORS[0]} into {self.options.root}"

    def read_clips(self, manifest: Path) -> tuple[list[Clip], list[Path]]:
        transcripts = sorted(manifest.glob("*/*/*.trans.txt"))
        clips = [clip for path in transcripts for clip in read_transcripts(path, manifest)]
        return check_not_empty(clips, manifest), transcripts


def read_transcripts(path: Path, subset: Path) -> list[Clip]:
    """The clips of a chapter: a line has the name of a file without .flac, a blank, and the transcript.

    Raises DataError for a file that cannot be read.
    """
    clips = []
    for number, line in enumerate(read_list(path), 1):
        name, _, text = line.partition(" ")
        fault = None if text.strip() else f"line {number} of {path.name} has no transcript"
        place = path.parent / f"{name}.flac"
        clips.append(
            Clip(
                place.relative_to(subset).as_posix(), place, text, speaker=name.split("-")[0], line=number, fault=fault
            )
        )
    return clips


class SpeechCommands(PublishedSpeech):
    """Warden 2018 (arXiv:1804.03209), version 0.02: WORD/SPEAKER_nohash_NUMBER.wav, a second each.

    validation_list.txt and testing_list.txt name their clips; all others are trained on, but for recorded noise.
    """

    name = "speech_commands"

    def check_options(self, training: bool) -> None:
        if self.options.train is not None or self.options.test is not None or isinstance(self.options.validation, str):
            raise UsageError(
                "data.train, data.validation, data.test: speech_commands has lists of its own; only a share for "
                "data.validation may be given, of the clips that are in none of them"
            )

    @property
    def folder(self) -> Path:
        found = self.files.find(TEST)
        return self.files.folders[0] if found is None else found.parent

    def check_present(self) -> None:
        self.find_manifest("test")

    def locate_manifest(self, split: Split) -> Path | None:
        if split == "training" or self.is_shared(split):
            return self.folder
        return self.folder / (VALIDATION if split == "validation" else TEST)

    def read_clips(self, manifest: Path) -> tuple[list[Clip], list[Path]]:
        lists = [self.folder / VALIDATION, self.folder / TEST]
        if manifest in lists:
            return check_not_empty(self._list_clips(read_list(manifest)), manifest), [manifest]
        for split, path in zip(("validation", "test"), lists, strict=True):
            if not path.exists():
                raise self.describe_missing(split, path)  # type: ignore[arg-type]
        held_out = {name for path in lists for name in read_list(path)}
        names = [f"{word}/{name}" for word in list_words(manifest) for name in list_names(manifest / word)]
        clips = self._list_clips([name for name in names if name.endswith(".wav") and name not in held_out])
        return check_not_empty(clips, manifest), lists

    def _list_clips(self, names: Sequence[str]) -> list[Clip]:
        """The clips of these names: the word is the folder, and the speaker stands before `_nohash_`."""
        clips = []
        for number, name in enumerate(names, 1):
            word, _, file = name.rpartition("/")
            fault = (
                None if word and "/" not in word else f"line {number}: expected is WORD/NAME.wav, found {name[:80]!r}"
            )
            speaker = file.partition("_nohash_")[0]
            clips.append(Clip(name, self.folder / name, word, speaker, line=number, fault=fault))
        return clips


def list_words(folder: Path) -> list[str]:
    """The folders of words."""
    return [name for name in list_names(folder) if name != NOISE and (folder / name).is_dir()]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_list(path: Path) -> list[str]:
    """The lines of a file that are not empty. Raises DataError where it cannot be read."""
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason})", advice="get the corpus again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})", advice="get the corpus again") from None


PUBLISHED: Mapping[str, type[PublishedSpeech]] = {"librispeech": LibriSpeech, "speech_commands": SpeechCommands}


def fetch(
    name: str,
    root: Path,
    mirrors: Sequence[str] | None = None,
    progress: Progress | None = None,
    archives: Sequence[Remote] | None = None,
) -> list[Path]:
    """Fetch and unpack what is missing: LibriSpeech's three usual subsets, or Speech Commands. Returns the folders.

    `mirrors` and `archives` are the published ones unless given. Raises DataError with the answer of each mirror.
    """
    files = locate_published(name, root)
    if name == "speech_commands":
        if files.find(TEST) is None:
            archive = COMMANDS if archives is None else archives[0]
            fetch_packed(files, archive, place_member, mirrors=mirrors, progress=progress)
        return [PUBLISHED[name](SourceOptions(root=root)).find_manifest("training")]
    wanted = [Remote(f"{subset}.tar.gz", None, "md5", SUBSETS[subset]) for subset in USUAL.values()]
    for archive in wanted if archives is None else archives:
        subset = archive.name.removesuffix(".tar.gz")
        if files.find(subset) is None:
            place: Callable[[str], str | None] = partial(place_member, within="LibriSpeech")
            fetch_packed(files, archive, place, mirrors=mirrors, progress=progress)
    return [path for subset in USUAL.values() if (path := files.find(subset))]


def place_member(member: str, within: str = "") -> str | None:
    """Where an archive's member belongs in the folder of its corpus: that `within` the archive, or the archive itself.

    None for what is outside of it.
    """
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts or (within and path.parts[:1] != (within,)):
        return None
    inner = PurePosixPath(*path.parts[1:]) if within else path
    return str(inner) if len(inner.parts) > 1 or not within else None
