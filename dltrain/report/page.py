"""One self-contained page: its head with style and script inside, a heading, links to its sections."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dltrain.report.markup import escape

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; script-src "
)
"""The page may load nothing, so that it never shows anything but what is in it; the hashes of its scripts follow."""
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 3c2 9 6 9 12 10' "
    "fill='none' stroke='%232563c9' stroke-width='2.5' stroke-linecap='round'/%3E%3C/svg%3E"
)


@cache
def read_part(name: str) -> str:
    """A file of this package."""
    return (HERE / name).read_text(encoding="utf-8")


def hash_script(script: str) -> str:
    """A script's source expression for the policy: no other script is carried out, whatever a name may hold."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def build_page(
    title: str, header: str, sections: Iterable[str], *, refresh: int | None = None, scripts: Iterable[str] = ()
) -> str:
    """The page as HTML. With `refresh` it loads itself again after so many seconds."""
    shown = [section for section in sections if section]
    links = [re.match(r"<section id=(\S+)><h2>(.*?)</h2>", section) for section in shown]
    menu = "".join(f'<a href="#{link[1]}">{link[2]}</a>' for link in links if link)
    written = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    live = f' data-refresh="{refresh}" data-written="{written}"' if refresh else ""
    note = (
        f"<span id=live>Training is running: this page loads itself again every {refresh} s.</span> " if refresh else ""
    )
    parts = (read_part("script.js"), *scripts)
    code = "".join(f"<script>{script}</script>\n" for script in parts)
    policy = POLICY + " ".join(map(hash_script, parts))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="{ICON}">
<style>{read_part("style.css")}</style></head>
<body{live}>
<header>{header}</header>
<nav><div>{menu}</div></nav>
<main>
{"".join(shown)}
</main>
<footer>{note}Written by dltrain, {time.strftime("%Y-%m-%d %H:%M:%S")}.</footer>
{code}</body></html>
"""
