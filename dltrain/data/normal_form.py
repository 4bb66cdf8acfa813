"""One form of texts that look the same: Unicode's NFC, without white space and invisible marks around a label."""

from __future__ import annotations

import unicodedata
from typing import Final

FORM: Final = "NFC"
"""What the assets of a dataset name that reads all texts in this form."""

_INVISIBLE = "\u200b\u200e\u200f\u2060\ufeff"  # zero-width space and joiner, marks of direction, byte order mark


def compose_text(text: str) -> str:
    """Return a text in NFC: an accented letter is one character, as far as there is one."""
    return unicodedata.normalize(FORM, text)


def clean_label(text: str) -> str:
    """Return a label, or another name of something, in NFC and without white space or invisible marks around it."""
    before = None
    while before != text:
        before, text = text, text.strip().strip(_INVISIBLE)
    return compose_text(text)
