"""Writing over what is a file, and into what is none: pipes, devices, links."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from dltrain.files import is_stream, write_atomically


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"content")
    reader.join(10)
    assert received == [b"content"]
    assert pipe.is_fifo()


def test_a_device_stays(tmp_path: Path) -> None:
    write_atomically(Path(os.devnull), b"content")
    assert Path(os.devnull).is_char_device()
    assert is_stream(Path(os.devnull))
    assert not is_stream(tmp_path)
    assert not is_stream(tmp_path / "none")


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(folder / "old")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert (folder / "old").read_bytes() == b"new"
    assert [path.name for path in folder.iterdir()] == ["old"]


def test_standard_output_keeps_its_order_also_in_a_file(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from dltrain.files import write_atomically\n"
        "print('before'); write_atomically(pathlib.Path('/dev/stdout'), b'content\\n'); print('after')"
    )
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text().splitlines() == ["before", "content", "after"]
    assert Path("/dev/stdout").is_symlink()
