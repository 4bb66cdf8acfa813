"""File names and class labels with control characters, through every command that prints them."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from PIL import Image

from dltrain.cli.main import format_error, run_command
from dltrain.cli.shared.protected_output import ClosableOutput, TerminalOutput
from dltrain.errors import DltrainError
from support.commands import good

OWNED, FORMULA = "\x1b]0;OWNED\x07", "$\\frac{$"
RED, BROKEN, TURNED = "\x1b[31mred\x1b[0m.png", "tab\there\nline.png", "=photo\u202egnp.png"
LATIN = os.fsdecode(b"caf\xe9.png")
NAMES = [RED, BROKEN, TURNED, LATIN, '"><img src=x onerror=alert(1)>.png']
MORE = [f'{number}"><img src=x onerror=alert(1)>.png' for number in range(7)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of two classes, and a run trained on them in `run`, evaluated."""
    folder = tmp_path_factory.mktemp("hostile")
    random = numpy.random.default_rng(1)
    for number, label in enumerate((OWNED, FORMULA)):
        (folder / "pictures" / label).mkdir(parents=True)
        for name in [*NAMES, *MORE]:
            pixels = random.integers(0, 256, (8, 8)) // 2 + 120 * number
            Image.fromarray(pixels.astype("uint8")).save(folder / "pictures" / label / name, format="png")
    (folder / "hostile.yaml").write_text(
        """
task: image_classification
data: {name: image_folder, root: pictures, height: 8, width: 8, batch_size: 4, validation: 0.25, test: 0.25}
model: {name: mlp, hidden: [4]}
optimizer: {name: adam, learning_rate: 1e-2}
trainer: {epochs: 1, device: cpu, threads: 1}
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DLTRAIN_CACHE", str(folder / "cache"))
        good("fit", "hostile.yaml", "-o", f"runs/{RED}", "--quiet")
        good("eval", f"runs/{RED}", "--worst", 6, "--json")
    return folder


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def run_on_terminal(*words: str) -> str:
    """What a terminal receives of a command, on stdout and stderr."""
    reading, writing = pty.openpty()
    tty.setraw(writing)
    received = bytearray()

    def drain() -> None:
        while True:
            try:
                received.extend(os.read(reading, 65_536))
            except OSError:  # closed
                return

    thread = threading.Thread(target=drain)
    thread.start()
    stream = TerminalOutput(os.fdopen(writing, "wb"), "utf-8", "surrogateescape", "\n")
    run_into(stream, words)
    stream.close()
    thread.join()
    os.close(reading)
    return received.decode()


def run_into_pipe(*words: str) -> str:
    """What a pipe receives of a command, on stdout."""
    content = io.BytesIO()
    stream = ClosableOutput(content, "utf-8", "surrogateescape", "\n")
    run_into(stream, words)
    stream.flush()
    return content.getvalue().decode("utf-8", "surrogateescape")


def run_into(stream: ClosableOutput, words: tuple[str, ...]) -> None:
    """Carry out a command as `main` does, with its output, and on a terminal its messages, in `stream`."""
    before = sys.stdout, sys.stderr
    sys.stdout = stream
    if stream.isatty():
        sys.stderr = stream
    try:
        run_command(words)
    except DltrainError as error:
        sys.stderr.write(format_error(error, "--json" in words) + "\n")
    finally:
        stream.flush()
        sys.stdout, sys.stderr = before


def list_commands() -> Iterator[list[str]]:
    run, pictures = f"runs/{RED}", f"pictures/{OWNED}"
    yield ["predict", run, pictures, "--top", "2"]
    yield ["predict", run, f"{pictures}/none{OWNED}.png", f"{pictures}/{RED}"]
    yield ["predict", f"runs/none{OWNED}", "x"]
    yield ["eval", run, "--worst", "6"]
    yield ["explain", run, f"{pictures}/{RED}", "-o", "explained.png"]
    yield ["data", "check", "image_folder", "--root", "pictures"]
    yield ["data", "show", "hostile.yaml", "--number", "4"]
    yield ["data", "show", run, "--number", "4", "-o", "shown.png"]
    yield ["runs"]
    yield ["runs", "--csv"]
    yield ["compare", "runs", "-o", "compared.png"]
    yield ["report", run]
    yield ["summary", run]
    yield ["config", "check", "hostile.yaml", "--set", f"data.root={OWNED}"]
    yield ["config", "show", "hostile.yaml", "--set", f"data.root={OWNED}"]
    yield ["fit", "hostile.yaml", "-o", f"runs/{RED}"]
    yield ["fit", "hostile.yaml", "-o", f"runs/{RED}", "--set", f"model={OWNED}"]
    yield ["fit", "hostile.yaml", "-o", f"runs/again{RED}", "--fresh"]
    yield ["fit", f"{OWNED}.yaml"]
    yield [f"fit{OWNED}"]


@pytest.mark.slow
@pytest.mark.parametrize("words", list(list_commands()), ids=lambda words: re.sub(r"[^a-z -]", "", " ".join(words)))
def test_no_command_lets_a_name_through_to_a_terminal(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")  # a progress bar would be control sequences of our own
    shown = run_on_terminal(*words)
    assert shown
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown), repr(shown)


def test_a_pipe_gets_the_names_byte_for_byte() -> None:
    rows = list(
        csv.reader(io.StringIO(run_into_pipe("predict", f"runs/{RED}", f"pictures/{OWNED}"), newline=""), "excel-tab")
    )
    assert {row[0] for row in rows} == {f"pictures/{OWNED}/{name}" for name in [*NAMES, *MORE]}
    assert all(row[1] in (OWNED, FORMULA) and len(row) == 3 for row in rows)
    plain = run_into_pipe("predict", f"runs/{RED}", f"pictures/{OWNED}/{RED}", f"pictures/{OWNED}/{LATIN}")
    assert [line.split("\t")[0] for line in plain.splitlines()] == [
        f"pictures/{OWNED}/{RED}",
        f"pictures/{OWNED}/{LATIN}",
    ]
    lines = run_into_pipe("predict", f"runs/{RED}", f"pictures/{OWNED}", "--json").splitlines()
    assert {json.loads(line)["file"] for line in lines} == {row[0] for row in rows}


def test_a_csv_file_has_the_names_and_on_request_no_formulas(place: Path) -> None:
    words = ["predict", f"runs/{RED}", f"pictures/{OWNED}/{BROKEN}", f"./pictures/{OWNED}/{LATIN}", "-o"]
    run_into_pipe(*words, "out.csv")
    content = (place / "out.csv").read_text(errors="surrogateescape")
    rows = list(csv.reader(io.StringIO(content, newline="")))
    assert [row[0] for row in rows] == ["input", f"pictures/{OWNED}/{BROKEN}", f"pictures/{OWNED}/{LATIN}"]
    (place / TURNED).write_bytes((place / "pictures" / OWNED / TURNED).read_bytes())
    for flags, name in ([], TURNED), (["--csv-safe"], f"'{TURNED}"):
        run_into_pipe("predict", f"runs/{RED}", TURNED, "-o", "out.csv", *flags)
        rows = list(csv.reader(io.StringIO((place / "out.csv").read_text(), newline="")))
        assert rows[1][0] == name


def test_the_report_carries_no_name_out(place: Path) -> None:
    page = (place / "runs" / RED / "report.html").read_text()
    assert "<img src=x" not in page
    assert "&quot;&gt;&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert "\x1b" not in page
