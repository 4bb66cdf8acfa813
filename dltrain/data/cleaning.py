"""One form for texts that look the same."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

FORM: Final = "NFC"
"""The Unicode form that all texts are brought to; assets that name it belong to a dataset that does so."""

_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_AROUND = re.compile(r"^[\s\u200b\u200e\u200f\u2060\ufeff]+|[\s\u200b\u200e\u200f\u2060\ufeff]+$")
"""White space and invisible marks (of zero width, of direction, of byte order) at the ends of a text."""


def compose_text(text: str) -> str:
    """Compose the accents of a text (Unicode's form NFC): macOS writes e and an accent apart."""
    return unicodedata.normalize(FORM, text)


def clean_text(text: str) -> str:
    """Strip a text, of invisible marks too, and compose its accents."""
    return compose_text(_AROUND.sub("", text))


def clean_category(text: str) -> str:
    """Clean a text that names a category or a label; a whole number loses its ".0", which pandas adds."""
    found = clean_text(text)
    whole = _WHOLE_NUMBER.fullmatch(found)
    return found if whole is None else str(int(whole[1]))
