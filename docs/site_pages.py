"""A hook of mkdocs: files of the repository's root, such as README.md, and notebooks become pages of the site."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

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
    for notebook in sorted(ROOT.glob("docs/*.ipynb")):
        text = format_notebook(json.loads(notebook.read_text(encoding="utf-8")))
        files.append(File.generated(config, f"{notebook.stem}.md", content=text))
    return files


def format_notebook(notebook: dict[str, Any]) -> str:
    """A notebook as Markdown: its texts, its code, and below each cell what that printed."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links from a page in docs/ to a file of the root, or to a notebook."""
    markdown = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", markdown)
    return re.sub(r"\]\(\.\./(\w+\.md)", lambda match: f"]({PAGES.get(match[1], match[1])}", markdown)
