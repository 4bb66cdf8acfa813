"""Which plug-ins a run may bring along: one that somebody else made carries code, which importing executes.

The source of a plug-in is trusted that the user's own config names, that this user has trained with on this machine
(a file of hashes in the user's state folder), or that is in the user's folder of plug-ins. Everything else needs
`--trust-plugins`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dltrain.errors import UsageError

FLAG = "--trust-plugins"
_own: set[str] = set()
"""The hashes of sources that the user's own configs have named in this process."""
_carried: set[Path] = set()
"""Files that were unpacked from a checkpoint or an export."""
_all = False


@contextmanager
def trust_everything(asked: bool) -> Iterator[None]:
    """While this lasts, every plug-in is trusted, if that is `asked` for."""
    global _all
    before, _all = _all, asked or _all
    try:
        yield
    finally:
        _all = before


def get_state_folder() -> Path:
    """Dltrain's folder in $XDG_STATE_HOME, else in ~/.local/state."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "dltrain"


def get_plugin_folder() -> Path:
    """The user's plug-ins, whose copies in runs are trusted: $XDG_CONFIG_HOME/dltrain/plugins, else in ~/.config."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "dltrain" / "plugins"


def get_record_path() -> Path:
    """The file of hashes of the plug-ins that this user has trained with, one in a line, and their names."""
    return get_state_folder() / "trained-plugins"


def hash_source(text: str) -> str:
    """The SHA-256 of a plug-in's text, as `sha256sum` gives it for a file without a byte order mark."""
    return hashlib.sha256(text.removeprefix("\ufeff").encode(errors="surrogatepass")).hexdigest()


def note_carried(path: Path) -> None:
    """Let a file count as carried by a run, whatever config names it."""
    _carried.add(path)


def is_carried(path: Path) -> bool:
    return path in _carried


def note_own(text: str) -> None:
    """Trust the copies of a source that the user's own config names, in this process."""
    _own.add(hash_source(text))


def record_trained(plugins: Mapping[str, str]) -> None:
    """Remember sources, by name, that this user trains with. Where that cannot be written, they are not remembered."""
    path = get_record_path()
    with suppress(OSError, RuntimeError):  # a home that is read-only, or that does not exist
        known = _read_hashes(path)
        lines = {hash_source(text): name for name, text in plugins.items()}
        added = "".join(f"{digest}  {Path(name).name}\n" for digest, name in lines.items() if digest not in known)
        if added:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:  # one short write, which other processes do not split
                file.write(added)


def check_carried(carrier: str, plugins: Mapping[str, str]) -> None:
    """Raises UsageError where `carrier`, a run or an export, brings sources along that are not trusted."""
    if _all or not plugins:
        return
    trusted = _own | _read_hashes(get_record_path()) | set(_hash_files(get_plugin_folder()))
    unknown = {name: hash_source(text) for name, text in plugins.items() if hash_source(text) not in trusted}
    if unknown:
        listed = "".join(f"\n  {name}  SHA-256 {digest}" for name, digest in unknown.items())
        raise UsageError(
            f"{carrier}: carries code that would be executed, and that you have not trained with here:{listed}",
            advice=f"read it first; if you trust who wrote it, add {FLAG}",
        )


def _read_hashes(path: Path) -> set[str]:
    try:
        return {line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, ValueError, RuntimeError):
        return set()


def _hash_files(folder: Path) -> Iterable[str]:
    with suppress(OSError, ValueError, RuntimeError):
        for path in sorted(folder.glob("*.py")):
            yield hash_source(path.read_text(encoding="utf-8-sig"))
