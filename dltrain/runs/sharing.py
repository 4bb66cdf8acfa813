"""A run as one file, to be trained again or used by somebody else: config, plug-ins, checkpoints, metrics; no data.

The file is a ZIP archive of a run directory's own files, with their hashes in `shared-run.json`. A file from a stranger
is only unpacked where every name in it is one that `share_run` writes, within limits of size, and every hash fits.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dltrain import __version__
from dltrain.core.checkpoint import MANIFEST, OPTIMIZER, STATE, WEIGHTS, Checkpoint, Checkpoints, select_best
from dltrain.errors import DataError, NoCheckpoint
from dltrain.runs.directory import CONFIG, ENVIRONMENT
from dltrain.runs.run_facts import read_json

CONTENTS, FORMAT = "shared-run.json", 1
METRICS, REPORT = "metrics.jsonl", "report.html"
NAMES = re.compile(
    rf"{re.escape(CONFIG)}|{re.escape(ENVIRONMENT)}|metrics\.jsonl|baselines\.json|report\.html|plugins/\w[\w.-]*\.py"
    rf"|checkpoints/step-\d{{8,}}(-mid)?/({re.escape(WEIGHTS)}|{re.escape(OPTIMIZER)}|{STATE}|{MANIFEST})"
)
"""The names that a shared file may contain, beside its table of contents."""
SHARED_FACTS = ("time", "platform", "versions", "signature", "seed", "dataset", "begins_at_step", "parameters", "notes")
"""What is shared of each process: not its host, its directories and its command."""
MOST_FILES, MOST_BYTES, MOST_SMALL_BYTES = 200, 64 << 30, 256 << 20
"""Limits of a shared file: files, bytes of a tensor file, and bytes of any other file."""
BLOCK = 1 << 20
FAULTS = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError, LookupError, TypeError)
"""What reading a damaged or an encrypted archive raises."""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def share_run(run: Path, output: Path, *, report: bool = True) -> list[str]:
    """Write a run's shared file; the names in it. The same run gives the same bytes.

    Raises NoCheckpoint where `run` is no run directory with a checkpoint.
    """
    everything = Checkpoints(run / "checkpoints").sound()
    if not everything or not (run / CONFIG).is_file():
        raise NoCheckpoint(f"{run}: no run directory with a checkpoint", advice="name the directory of a trained run")
    chosen = {one.name: one for one in (select_best(everything) or everything[-1], everything[-1])}
    names = [CONFIG, METRICS, "baselines.json", *([REPORT] if report else [])]
    paths = {name: run / name for name in names if (run / name).is_file()}
    paths |= {name: run / name for name in sorted(everything[-1].record.plugins) if (run / name).is_file()}
    for checkpoint in chosen.values():
        paths |= {f"checkpoints/{checkpoint.name}/{name}": checkpoint.path / name for name in _list_files(checkpoint)}
    processes = [{key: one[key] for key in SHARED_FACTS if key in one} for one in read_json(run / ENVIRONMENT, [])]
    made = {ENVIRONMENT: (json.dumps(processes, indent=1) + "\n").encode()}
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        _write_archive(temporary, run.resolve().name, paths, made)
        temporary.replace(output)
    finally:
        temporary.unlink(missing_ok=True)
    return sorted([*paths, *made])


def _list_files(checkpoint: Checkpoint) -> list[str]:
    return [*checkpoint.manifest["files"], MANIFEST]


def _write_archive(path: Path, name: str, paths: Mapping[str, Path], made: Mapping[str, bytes]) -> None:
    files: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside in sorted([*paths, *made]):
            content = made[inside] if inside in made else paths[inside].read_bytes()
            files[inside] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            _add(archive, inside, content)
        contents = {"format": FORMAT, "dltrain": __version__, "name": name, "files": files}
        _add(archive, CONTENTS, (json.dumps(contents, indent=1) + "\n").encode())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)


def is_shared(path: Path) -> bool:
    """Whether a path is a file, and so a shared run rather than a run directory."""
    return path.is_file()


def unpack_shared(path: Path, folder: Path) -> str:
    """Unpack a shared file into an empty folder, which becomes a run directory; the run's name.

    Nothing of it is executed. Raises DataError, naming the file in it, for anything that `share_run` does not write.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) != len(archive.infolist()) or len(entries) > MOST_FILES:
                raise refuse(path, f"it has {len(archive.infolist())} files, or several of one name")
            contents = _read_contents(path, archive, entries)
            for name, facts in contents["files"].items():
                _unpack(path, archive, entries[name], folder / name, facts=facts)
    except FAULTS as error:
        raise refuse(path, f"it cannot be read ({error})") from None
    return str(contents["name"])


def refuse(path: Path, fault: str) -> DataError:
    return DataError(f"{path}: no file that `dltrain share` wrote: {fault}", advice="ask for the file again")


def _read_contents(path: Path, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> dict[str, Any]:
    """The table of contents, which names every other file in the archive and nothing else."""
    if CONTENTS not in entries:
        raise refuse(path, f"{CONTENTS} is missing")
    contents: dict[str, Any] = json.loads(b"".join(_read(path, archive, entries[CONTENTS])))
    if contents["format"] != FORMAT:
        raise DataError(
            f"{path}: written in format {contents['format']}, and this dltrain reads format {FORMAT}",
            advice="use the version that wrote it",
        )
    strangers = sorted(name for name in {*entries, *contents["files"]} - {CONTENTS} if not NAMES.fullmatch(name))
    if strangers or entries.keys() - {CONTENTS} != contents["files"].keys():
        raise refuse(path, f"it has the file {strangers[0]!r}" if strangers else "its files are not those it lists")
    return contents


def _unpack(
    path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, *, facts: Mapping[str, Any]
) -> None:
    """Write one file whose size and hash are as they were listed."""
    if entry.file_size != facts["size"]:
        raise refuse(path, f"{entry.filename} has {entry.file_size} bytes, and {facts['size']} are listed")
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        for block in _read(path, archive, entry):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != facts["sha256"]:
        raise refuse(path, f"{entry.filename} is not as it was written (its SHA-256 does not fit)")


def _read(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of one file, block by block, and never more than its size says."""
    limit = MOST_BYTES if entry.filename.endswith(".safetensors") else MOST_SMALL_BYTES
    if entry.file_size > limit:
        raise refuse(path, f"{entry.filename} has {entry.file_size} bytes, and {limit} are allowed")
    left = entry.file_size
    with archive.open(entry) as file:
        while block := file.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise refuse(path, f"{entry.filename} is longer than it says")
            yield block
