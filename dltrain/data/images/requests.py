"""Images in requests to `dltrain serve`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from dltrain.errors import DataError

_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""A PNG of one black pixel."""


class ImageForm:
    """An image: the bytes of its file, in base64."""

    text = "the bytes of an image file, in base64; it is easier to send files"
    example = _DOT
    suffixes = ()

    def __init__(self, assets: Mapping[str, Any]) -> None:
        pass

    def convert(self, value: Any) -> bytes:
        if isinstance(value, str):
            _, _, data = value.rpartition(",")  # of a data: URL
            try:
                return base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                pass
        found = "a text that is not base64" if isinstance(value, str) else type(value).__name__
        raise DataError(f"found {found}; expected are the bytes of an image file in base64")
