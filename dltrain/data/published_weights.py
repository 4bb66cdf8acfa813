"""Weights that others have published, fetched once."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dltrain.data.cache import cache_directory
from dltrain.data.mirrors import Remote, fetch_file

SCHEMES = ("https://", "http://")


def fetch_weights(address: str) -> Path:
    """The file at an address, from the cache's folder `weights`, or downloaded into it.

    Where its name ends in the beginning of its SHA-256, as those of PyTorch's hub do (`resnet18-f37072fd.pth`), it is
    compared. Raises DataError.
    """
    folder, _, _ = address.rpartition("/")
    name = Path(unquote(urlsplit(address).path)).name
    target = cache_directory(None) / "weights"
    if (target / name).is_file():
        return target / name
    stated = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    remote = Remote(name, None, "sha256", stated[1] if stated else "")
    return fetch_file(remote, target, [folder], f"Fetch it elsewhere, and name the file: weights.init_from: {name}")
