"""A hook of mkdocs: the pages that are files of the repository's root, such as README.md, become pages of the site."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "LICENSE": "LICENSE.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, target in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\]\(docs/", "](", text).replace("](LICENSE)", "](LICENSE.md)")
        files.append(File.generated(config, target, content=text))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links from a page in docs/ to a file of the root."""
    return re.sub(r"\]\(\.\./(\w+\.md)", lambda match: f"]({PAGES.get(match[1], match[1])}", markdown)
