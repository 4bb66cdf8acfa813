"""Download published weights once."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dltrain.data.cache import cache_directory
from dltrain.data.mirrors import Remote, fetch_file

SCHEMES = ("https://", "http://")


def fetch_weights(address: str) -> Path:
    """Return the file at an address, from the cache's folder `weights`, downloading it there if it is missing.

    If its name ends with the first digits of its SHA-256, as PyTorch's hub does (`resnet18-f37072fd.pth`), they are
    compared. Raises DataError.
    """
    folder, _, _ = address.rpartition("/")
    name = Path(unquote(urlsplit(address).path)).name
    target = cache_directory(None) / "weights"
    if (target / name).is_file():
        return target / name
    stated = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    remote = Remote(name, None, "sha256", stated[1] if stated else "")
    advice = f"download it elsewhere, and name the file: weights.init_from: {name}"
    return fetch_file(remote, target, [folder], advice=advice)
