"""One form for texts that look the same."""

from __future__ import annotations

import re
import unicodedata

_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")


def clean_text(text: str) -> str:
    """Strip a text, and compose its accents (Unicode's form NFC): macOS writes e and an accent apart."""
    return unicodedata.normalize("NFC", text.strip())


def clean_category(text: str) -> str:
    """Clean a text that names a category or a label; a whole number loses its ".0", which pandas adds."""
    found = clean_text(text)
    whole = _WHOLE_NUMBER.fullmatch(found)
    return found if whole is None else str(int(whole[1]))
