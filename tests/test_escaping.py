"""Names and labels can only be read, wherever they are shown."""

from __future__ import annotations

import csv
import io
import os
import pty
import unicodedata
from pathlib import Path

import pytest
import torch

from dltrain.cli.shared.delimited import format_csv
from dltrain.cli.shared.protected_output import ClosableOutput, TerminalOutput
from dltrain.data.progress import Progress
from dltrain.escaping import format_fields, guard_formula, keep_on_line, show_all_controls, show_controls
from dltrain.observers.comparison_picture import LabelledCurves, draw_comparison
from dltrain.observers.pictures import draw_captioned_picture
from dltrain.observers.run_pictures import draw_confusion_picture, draw_curves
from dltrain.report.markup import escape
from dltrain.report.page import build_page, hash_script

TITLE = "\x1b]0;OWNED\x07"
TURNED = "photo\u202egnp.exe"


def test_what_a_terminal_obeys_is_visible() -> None:
    assert show_controls(f"{TITLE} {TURNED} \x9b31m \x7f a\tb\nc\r") == (
        "\\x1b]0;OWNED\\x07 photo\\u202egnp.exe \\x9b31m \\x7f a\tb\nc\\r"
    )
    assert show_controls(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"
    assert show_all_controls("a\tb\n") == "a\\tb\\n"
    assert show_controls("نص עברית 日本 👩‍👩‍👧 é") == "نص עברית 日本 👩‍👩‍👧 é"


def test_no_control_character_of_unicode_is_left() -> None:
    """The categories and the classes of Unicode's own tables are the truth."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for code in range(0x110000):
        character = chr(code)
        dangerous = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        dangerous = dangerous or unicodedata.bidirectional(character) in turning
        assert (show_all_controls(character) != character) == dangerous, hex(code)


def test_what_ends_a_line_or_a_column_stays_on_it() -> None:
    for code in range(0x110000):
        kept = keep_on_line(f"a{chr(code)}b")
        assert len(kept.splitlines()) == 1, hex(code)
        assert "\t" not in kept
    assert keep_on_line("\x1b[31m") == "\x1b[31m"


@pytest.mark.parametrize(
    "name", ["plain", 'with "quotes"', '"quoted"', "tab\t", "line\nbreak", "\r", '"\t"', "", TITLE]
)
def test_any_name_is_read_back_from_its_field(name: str) -> None:
    line = format_fields([name, "label", 0.5])
    assert list(csv.reader(io.StringIO(line, newline=""), delimiter="\t")) == [[name, "label", "0.5"]]
    assert format_fields([name, 1], terminal=True).count("\t") == 1
    assert "\n" not in format_fields([name, 1], terminal=True)


def test_formulas_are_guarded_on_request() -> None:
    rows = [["=cmd|'/c calc'!A1", "@sum(1)", "+1", "-2.5e-3", -1.5, "-x", "a=b", None, "＝1"]]
    assert format_csv(rows) == "=cmd|'/c calc'!A1,@sum(1),+1,-2.5e-3,-1.5,-x,a=b,,＝1\n"
    assert format_csv(rows, safe=True) == "'=cmd|'/c calc'!A1,'@sum(1),+1,-2.5e-3,-1.5,'-x,a=b,,'＝1\n"
    assert guard_formula("\t=1") == "'\t=1"


def read_terminal(write_to: str) -> bytes:
    """What arrives at a terminal of `text`, through the stream that the command line uses."""
    reading, writing = pty.openpty()
    stream = TerminalOutput(os.fdopen(writing, "wb"), "utf-8", "surrogateescape", "\n")
    assert stream.isatty()
    print(write_to, end="", file=stream, flush=True)
    arrived = os.read(reading, 10_000)
    stream.close()
    os.close(reading)
    return arrived


def test_the_stream_of_a_terminal_shows_them_and_that_of_a_pipe_passes_them_on() -> None:
    name = b"\x1b]0;OWNED\x07 caf\xe9".decode("utf-8", "surrogateescape")
    assert read_terminal(name) == b"\\x1b]0;OWNED\\x07 caf\\xe9"
    content = io.BytesIO()
    stream = ClosableOutput(content, "utf-8", "surrogateescape", "\n")
    print(name, end="", file=stream, flush=True)
    assert content.getvalue() == b"\x1b]0;OWNED\x07 caf\xe9"
    stream.detach()


def test_a_progress_bar_is_obeyed_and_its_title_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dltrain.data.progress.SECONDS_BEFORE_ANY", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    reading, writing = pty.openpty()
    stream = TerminalOutput(os.fdopen(writing, "wb"), "utf-8", "surrogateescape", "\n")
    with Progress(f"[/x]{TITLE}", 3, stream) as progress:
        progress.advance()
    stream.flush()
    arrived = os.read(reading, 10_000)
    stream.close()
    os.close(reading)
    assert b"[/x]\\x1b]0;OWNED\\x07" in arrived
    assert TITLE.encode() not in arrived
    assert b"\x1b[?25l" in arrived  # the cursor is hidden


def test_names_in_html_are_text() -> None:
    assert escape(f"\"'><script>{TURNED}\x1b") == "&quot;&#x27;&gt;&lt;script&gt;photo\\u202egnp.exe\\x1b"
    page = build_page(f"</title><script>alert(1)</script>{TITLE}", "", [], scripts=["let one = 1"])
    assert "<script>alert" not in page
    assert hash_script("let one = 1") in page
    assert "script-src 'sha256-" in page
    assert "unsafe-inline'; script" not in page.replace("style-src 'unsafe-inline'; base-uri", "")


HOSTILE = ["$x^2$", "$\\frac{$", "_hidden", "a\tb\nc", TITLE, b"caf\xe9".decode("utf-8", "surrogateescape"), "\\$", "$"]


def test_names_in_pictures_are_no_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib raises an error for `$\\frac{$`, and draws `$x^2$` as a formula."""
    from matplotlib.text import Text

    drawn: list[str] = []
    parse = Text._preprocess_math  # type: ignore[attr-defined]

    def watch(self: Text, text: str) -> object:
        shown, form = parse(self, text)
        drawn.append(shown)
        assert form is False or "mathdefault" in text, text
        return shown, form

    monkeypatch.setattr(Text, "_preprocess_math", watch)
    count = len(HOSTILE)
    draw_confusion_picture(torch.eye(count), HOSTILE, HOSTILE[1], tmp_path / "confusion.png")
    for name in HOSTILE:
        assert show_all_controls(name) in drawn
    drawn.clear()
    draw_captioned_picture(torch.zeros(count, 1, 4, 4), HOSTILE, HOSTILE[1], tmp_path / "captions.png")
    assert "$\\frac{$" in drawn
    drawn.clear()
    history = [{"epoch": 1, "loss": 0.5, "training_loss": 0.5, "learning_rate": 0.1, "$m$": 1.0}]
    draw_curves(history, "$m$", HOSTILE[1], tmp_path / "curves.png")
    draw_comparison([LabelledCurves(name, [history]) for name in HOSTILE], "$m$", tmp_path / "comparison.png")
    assert " _hidden" in drawn


def test_formulas_of_logarithmic_axes_stay(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    from dltrain.observers.pictures import save_picture

    figure = Figure()
    axes = figure.subplots()
    axes.set(xscale="log", xlim=(1e-5, 1e-1), title="$x$")
    save_picture(figure, tmp_path / "log.png")
    assert {label.get_parse_math() for label in axes.get_xticklabels()} == {True}
    assert not axes.title.get_parse_math()
