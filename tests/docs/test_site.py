"""The documentation builds into a site without warnings, which needs no other server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import PAGES, ROOT


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = {page.parent.name if page.name == "index.html" else page.stem for page in tmp_path.rglob("*.html")}
    assert {page.stem for page in PAGES if page.name != "README.md"} <= pages
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]* src=\"(https?:[^\"]*)|<link [^>]*href=\"(https?:[^\"]*)|url\((https?:[^)]*)"
    )
    for file in [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]:
        assert loaded.findall(file.read_text(encoding="utf-8")) == [], file
