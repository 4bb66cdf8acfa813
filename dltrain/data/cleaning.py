"""One form for texts that look the same."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

FORM: Final = "NFC, visible"
"""The form that all texts are brought to; assets that name it belong to a dataset that does so."""

_WHOLE_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0+")
_AROUND = re.compile(r"^[\s\u200b\u200e\u200f\u2060\ufeff]+|[\s\u200b\u200e\u200f\u2060\ufeff]+$")
"""White space and invisible marks (of zero width, of direction, of byte order) at the ends of a text."""
_INVISIBLE = re.compile(
    "[\u00ad\u200e\u200f\u2060\ufe0e\ufe0f\ufeff]"
    "|(?<![\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff])\u200b"  # between Thai, Lao, Burmese and Khmer words it is a space
)
"""Soft hyphens, marks of direction, of byte order and of how an emoji is drawn, and spaces of no width: web pages have
them within words. Joiners stay, since Persian and Indian scripts need them."""
_QUOTES = str.maketrans("‘’‛′＇“”„‟″＂", '\'\'\'\'\'""""""')


def compose_text(text: str) -> str:
    """Compose the accents of a text (Unicode's form NFC), which macOS writes apart, and leave out invisible marks."""
    return str(unicodedata.normalize("NFC", _INVISIBLE.sub("", text)))  # of a number of JSON too


def compose_prose(text: str) -> str:
    """Compose a text, and make its quotation marks and apostrophes straight, which word processors curve."""
    return compose_text(text).translate(_QUOTES)


def fold_text(text: str) -> str:
    """Return a form that texts share if they differ in case and white space only."""
    return " ".join(compose_prose(text).casefold().split())


def clean_text(text: str) -> str:
    """Strip a text, of invisible marks too, and compose its accents."""
    return compose_text(_AROUND.sub("", text))


def clean_category(text: str) -> str:
    """Clean a text that names a category or a label; a whole number loses its ".0", which pandas adds."""
    found = clean_text(text)
    whole = _WHOLE_NUMBER.fullmatch(found)
    return found if whole is None else str(int(whole[1]))
