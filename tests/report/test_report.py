"""report.html: what is in it, when it is written, and what Chromium makes of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from dltrain.cli.main import application
from dltrain.report.building import write_report
from dltrain.report.charts import list_log_ticks, list_ticks
from dltrain.report.contents import read_contents
from dltrain.report.outline import title_run
from dltrain.report.page import hash_script
from dltrain.runtime.interrupts import Interrupts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TRAINER = {"epochs": 3, "device": "cpu", "threads": 1, "log_every_steps": 2}


def dltrain(*arguments: str) -> Any:
    with Interrupts() as interrupts:
        result: Any = CliRunner().invoke(application([arguments[0]]), list(arguments), obj=interrupts)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def train(name: str, *, task: str = "tabular_classification", table: str = "iris", **sections: Any) -> Path:
    config = {"task": task, "data": {"name": "bundled_table", "table": table}, "model": "dense", "trainer": TRAINER}
    Path(f"{name}.yaml").write_text(yaml.safe_dump({**config, **sections}))
    dltrain("fit", f"{name}.yaml", "-o", f"runs/{name}", "--quiet")
    return Path("runs", name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier, tested, and a regression."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train("flowers", optimizer={"name": "adam", "learning_rate": 0.02})
        train("sugar", task="regression", table="diabetes")
        dltrain("eval", "runs/flowers")
    return folder / "runs"


class Outline(HTMLParser):
    """The sections of a page, its text, and whatever it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.loads: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "section":
            self.sections.append(str(given["id"]))
        if tag != "a":
            self.loads += [str(given[name]) for name in ("src", "href", "srcset", "data") if given.get(name)]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(run: Path) -> Outline:
    return Outline((run / "report.html").read_text())


def test_a_classifier_has_every_section_and_loads_nothing(runs: Path) -> None:
    page = read(runs / "flowers")
    assert page.sections == ["scores", "curves", "classes", "worst", "settings", "data", "epochs", "process"]
    assert all(load.startswith("data:") for load in page.loads)
    for text in ("confusion matrix, examples", "ROC", "precision and recall", "calibration", "best baseline", "linear"):
        assert text in page.text, text
    assert "optimizer.learning_rate 0.02 0.001" in page.text  # setting, value, default
    assert "test split" in page.text
    assert "setosa" in page.text
    assert (runs / "flowers" / "report.html").stat().st_size < 150_000


def test_a_regression_has_points_and_residuals_of_the_validation_split_until_it_is_tested(runs: Path) -> None:
    page = read(runs / "sugar")
    assert page.sections == ["scores", "curves", "numbers", "worst", "settings", "data", "epochs", "process"]
    assert "predicted against true" in page.text
    assert "distribution of the residuals" in page.text
    assert "validation split" in page.text
    assert "dltrain eval" in page.text


def test_the_scores_are_those_of_the_evaluation(runs: Path) -> None:
    measured = json.loads((runs / "flowers" / "evaluations.jsonl").read_text().splitlines()[-1])["metrics"]
    text = read(runs / "flowers").text
    assert "test accuracy" in text
    for value in measured.values():
        assert f"{value:.4f}" in text


def test_findings_count_what_the_evaluation_counted(runs: Path) -> None:
    found = json.loads((runs / "flowers" / "findings" / "test.json").read_text())
    measured = json.loads((runs / "flowers" / "evaluations.jsonl").read_text().splitlines()[-1])
    assert found["confusion"] == measured["confusion"]
    areas = [curve["roc_auc"] for curve in found["probabilities"]["curves"]]
    assert sum(areas) / 3 == pytest.approx(measured["metrics"]["roc_auc"])
    assert found["probabilities"]["examples"] == sum(map(sum, measured["confusion"]))


def test_two_runs_have_two_titles(runs: Path) -> None:
    titles = [title_run(read_contents(runs / name).run) for name in ("flowers", "sugar")]
    assert titles[0] != titles[1]
    assert titles[0].startswith("flowers: dense on iris")


def test_findings_of_other_weights_are_not_shown(runs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "flowers"
    shutil.copytree(runs / "flowers", copy, symlinks=True)
    for split in ("test", "validation"):
        path = copy / "findings" / f"{split}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": "other"}))
    write_report(copy)
    assert "classes" not in read(copy).sections
    assert "worst" not in read(copy).sections


@pytest.mark.parametrize(
    "lost", ["data.json", "environment.json", "times.jsonl", "baselines.json", "findings", "metrics.jsonl"]
)
def test_a_run_that_lacks_a_file_has_a_report_without_it(runs: Path, tmp_path: Path, lost: str) -> None:
    copy = tmp_path / "flowers"
    shutil.copytree(runs / "flowers", copy, symlinks=True)
    (shutil.rmtree if (copy / lost).is_dir() else Path.unlink)(copy / lost)
    write_report(copy)
    assert {"scores", "curves", "settings"} <= set(read(copy).sections)


def test_a_page_of_a_running_run_loads_itself_again_and_that_of_a_finished_one_does_not(
    runs: Path, tmp_path: Path
) -> None:
    import fcntl

    copy = tmp_path / "flowers"
    shutil.copytree(runs / "flowers", copy, symlinks=True)
    assert "data-refresh" not in (copy / "report.html").read_text().partition("<header>")[0]
    with (copy / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_report(copy)
        assert '<body data-refresh="5"' in (copy / "report.html").read_text()
        write_report(copy, ours=True)
    assert "<body>" in (copy / "report.html").read_text()


def test_text_of_the_data_is_no_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{index % 7},{'<script>x</script>' if index % 2 else 'b&c'}" for index in range(60)]
    Path("t.csv").write_text("a,kind\n" + "\n".join(rows) + "\n")
    run = train("t", data={"name": "table", "training": "t.csv", "target": "kind"})
    page = (run / "report.html").read_text()
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    dltrain("report", "runs")
    assert "<script>x" not in Path("runs/report.html").read_text()


def test_the_command_names_the_page(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    assert dltrain("report", "runs/sugar").stdout == "runs/sugar/report.html\n"
    found = json.loads(dltrain("report", "runs", "--json").stdout)
    assert (found["report"], found["runs"]) == ("runs/report.html", 2)
    opened: list[str] = []

    def launch(url: str) -> int:
        opened.append(url)
        return 0

    monkeypatch.setattr("typer.launch", launch)
    dltrain("report", "runs/sugar", "--open")
    assert opened == [(runs / "sugar" / "report.html").resolve().as_uri()]


def test_the_page_of_a_folder_links_to_every_report_and_writes_missing_ones(runs: Path) -> None:
    (runs / "sugar" / "report.html").unlink()
    dltrain("report", str(runs))
    page = (runs / "report.html").read_text()
    links = re.findall(r'<a href="([^"#]+)"', page)
    assert sorted(links) == ["flowers/report.html", "sugar/report.html"]
    assert all((runs / link).exists() for link in links)
    histories = json.loads(re.search(r"id=histories>(.*?)</script>", page)[1])  # type: ignore[index]
    assert {len(each["x"]) for each in histories} == {3}


def test_ticks_are_round_and_inside() -> None:
    assert list_ticks(0, 1, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert list_ticks(-3, 17, 5) == [0, 5, 10, 15]
    assert list_ticks(1, 3, 6, whole=True) == [1, 2, 3]
    assert list_log_ticks(0.5, 2000) == [1, 10, 100, 1000]


PROBE = """<script>addEventListener("load", () => setTimeout(() => {
const wide = [...document.querySelectorAll("body *")].filter(each =>
  each.getBoundingClientRect().right > innerWidth + 1 && !each.closest(".scroll, nav, .clip"));
document.title = JSON.stringify({width: innerWidth, scroll: document.documentElement.scrollWidth,
  wide: wide.map(each => each.outerHTML.slice(0, 80)), charts: document.querySelectorAll("svg path.line").length,
  ground: getComputedStyle(document.body).backgroundColor,
  loaded: performance.getEntriesByType("resource").map(each => each.name).filter(each => !each.startsWith("data:"))});
parent.postMessage(document.title, "*");
}, 100))</script></body>"""


def look_at(page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """What Chromium makes of a page, on stdout, and the messages of its console, on stderr."""
    assert CHROMIUM is not None
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         f"--user-data-dir={page.parent / 'profile'}", "--window-size=1700,1200", "--virtual-time-budget=2000",
         *flags, page.as_uri()],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


FRAME = """<!doctype html><title></title><body style="margin:0">
<script>onmessage = event => document.title = event.data</script>
<iframe src="page.html" style="border:0;width:WIDTHpx;height:1200px"></iframe>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the pages are not looked at in a browser")
@pytest.mark.parametrize("content", ["<script>document.title = 1</script>", "<img src=x onerror='document.title = 1'>"])
def test_chromium_carries_out_no_script_but_those_of_the_page(runs: Path, tmp_path: Path, content: str) -> None:
    """Even where a text were not escaped."""
    page = (runs / "flowers" / "report.html").read_text()
    (tmp_path / "page.html").write_text(page.replace("<footer>", f"{content}<footer>"))
    shown = look_at(tmp_path / "page.html")
    assert "<title>1</title>" not in shown.stdout
    assert "violates the following Content Security Policy directive" in shown.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the pages are not looked at in a browser")
@pytest.mark.parametrize("width", [380, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["flowers/report.html", "sugar/report.html", "report.html"])
def test_chromium_shows_a_page_without_errors_requests_or_overflow(
    runs: Path, tmp_path: Path, page: str, scheme: str, width: int
) -> None:
    """The page is in a frame, since a window of headless Chromium is at least 500 wide."""
    if not (runs / page).exists():
        dltrain("report", str(runs))
    content = (runs / page).read_text()
    allowed = f"script-src {hash_script(PROBE.removeprefix('<script>').partition('</script>')[0])} "
    (tmp_path / "page.html").write_text(content.replace("</body>", PROBE).replace("script-src ", allowed))
    (tmp_path / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    done = look_at(tmp_path / "frame.html", f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}")
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    found = json.loads(html.unescape(title[1]))
    assert found["width"] == width
    assert found["loaded"] == []
    assert found["scroll"] <= found["width"]
    assert found["wide"] == []
    assert found["charts"] >= 3
    assert found["ground"] == ("rgb(20, 23, 28)" if scheme == "dark" else "rgb(251, 251, 250)")
