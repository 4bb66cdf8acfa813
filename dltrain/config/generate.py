"""What ``make docs`` runs: read what the package registers, store it, and write the tables of docs/configuration.md.

``python -m dltrain.config.generate`` in the root of a checkout.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import dltrain
from dltrain.config.catalogue import STORED, Catalogue, encode_catalogue, load_package_catalogue, locate_module
from dltrain.config.page import START, build_page
from dltrain.config.signatures import read_entry
from dltrain.registry import REGISTRIES

PAGE = Path("docs/configuration.md")


def read_package() -> Catalogue:
    """The catalogue of dltrain's own modules, from their signatures. Imports all that register something."""
    package = Path(dltrain.__file__).parent
    for file in sorted(package.rglob("*.py")):
        if ".register(" in file.read_text(encoding="utf-8"):
            import_module(".".join(["dltrain", *file.relative_to(package).with_suffix("").parts]))
    registered = [each for registry in REGISTRIES.values() for each in registry if each.module.startswith("dltrain.")]
    entries = [read_entry(each, locate_module(each.module).source, each.module) for each in registered]
    return Catalogue(replace(entry, place=locate_module(entry.module)) for entry in entries)


if __name__ == "__main__":
    STORED.write_text(encode_catalogue(read_package()), encoding="utf-8")
    load_package_catalogue.cache_clear()
    introduction = PAGE.read_text(encoding="utf-8").partition(START)[0]
    PAGE.write_text(introduction + build_page(), encoding="utf-8")
