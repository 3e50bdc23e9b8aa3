"""Captions as found on the web, made fit for tokenizers, tar members and screens.

Nothing here depends on the Unicode version of the Python that runs it: code points are treated by fixed ranges, and
letters are composed as far as Unicode 3.2 knows them, whose compositions never change."""

import html
import json
import math
import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby

MAX_CHARACTERS = 2000
"""CLIP reads at most 77 tokens; beyond this a caption is a page, not a caption."""

MOST_CAPTION_BYTES = 64 * 1024
"""Read of a file that holds a caption."""

MOST_JSON_BYTES = 2**20
"""Of a description in JSON."""
MOST_JSON_DEPTH = 100
"""Brackets within brackets. The json library's own bound differs between versions of Python."""

CAPTION_NAMES = ("caption", "text")
"""Keys of a description and columns of a table that may hold the caption, the preferred one first."""

UNREADABLE_CAPTION = "unreadable_caption"
"""Note of a row whose image arrives without the caption that was given for it."""

_IMPOSSIBLE_ENTITY = re.compile(r"&#[0-9]{10,};?")
"""Numbers beyond every character, which Python may refuse to read."""
# Unicode's Default_Ignorable_Code_Point without joiners, variation selectors and letters: the soft hyphen, zero-width
# space and word joiner, marks of direction, byte order mark, tags, and what is reserved for more of the kind.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)
_NONCHARACTERS = "".join(chr(0x10000 * plane + last) for plane in range(15) for last in (0xFFFE, 0xFFFF))
_NO_TEXT = re.compile(
    f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ue000-\uf8ff\ufdd0-\ufdef{_NONCHARACTERS}\U000f0000-\U0010ffff]"
)
"""Control characters, surrogates, private use and noncharacters."""
# Emoji and the scripts of India, Persia and others are written with joiners; letters of Europe, digits and the
# characters of China, Japan and Korea are not.
_STRAY_JOINER = re.compile("(?:(?<=[\x00-\u058f\u1e00-\u1fff\u3000-\ud7ff\uff00-\uffef])|^)[\u200c\u200d]+")
_STRING_OF_JSON = re.compile(r'(?s)"(?:[^"\\]|\\.)*"?')
_BRACKET = re.compile(r"[\[\]{}]")


def clean_caption(raw: object) -> str:
    """One line of printable text, cut at MAX_CHARACTERS; empty for null and NaN.

    Bytes that are no UTF-8 are replaced, HTML entities resolved once, invisible characters removed, letters composed
    (NFC). Control characters and runs of white space become one space."""
    if raw is None or (isinstance(raw, float) and math.isnan(raw)):
        return ""
    if isinstance(raw, bytes):
        text = raw[:MOST_CAPTION_BYTES].decode("utf-8", errors="replace")
    else:
        text = str(raw)[:MOST_CAPTION_BYTES]
    text = html.unescape(_IMPOSSIBLE_ENTITY.sub("\ufffd", text))
    text = _STRAY_JOINER.sub("", _NO_TEXT.sub(" ", _INVISIBLE.sub("", text)))
    return " ".join(composed(text).split())[:MAX_CHARACTERS].rstrip()


def composed(text: str) -> str:
    """In NFC as far as Unicode 3.2 goes; later characters stay as they are."""
    if text.isascii():
        return text
    parts = groupby(text, lambda letter: unicodedata.ucd_3_2_0.category(letter) != "Cn")
    joined = ((known, "".join(part)) for known, part in parts)
    return "".join(unicodedata.normalize("NFC", part) if known else part for known, part in joined)


def parsed_json(data: bytes) -> object:
    """Numbers as the text that they are written with, NaN and infinities as null. Raises ValueError where it is no
    JSON, has more than MOST_JSON_BYTES or nests deeper than MOST_JSON_DEPTH."""
    if len(data) > MOST_JSON_BYTES:
        raise ValueError(f"more than {MOST_JSON_BYTES:,} bytes")
    text = data.decode("utf-8-sig", errors="replace")
    depth = 0
    for bracket in _BRACKET.findall(_STRING_OF_JSON.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MOST_JSON_DEPTH:
            raise ValueError(f"brackets nest deeper than {MOST_JSON_DEPTH}")
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=lambda _: None)


def caption_in(said: object) -> str | None:
    """The caption of a description from parsed_json, or None where the value given for it is no text.

    A description is the caption itself, or an object with `caption` or else `text`. Of a list the first text counts."""
    if not isinstance(said, dict):
        return _text_of(said)
    return first_caption(said[name] for name in CAPTION_NAMES if said.get(name) is not None)


def first_caption(values: Iterable[object]) -> str | None:
    """The first that is not blank, or None where something is given that is no text."""
    given = [_text_of(value) for value in values]
    return next((text for text in given if text), None if None in given else "")


def _text_of(value: object) -> str | None:
    """None where it is no text, empty where it is blank or null."""
    if value is None or _is_text(value):
        return clean_caption(value)
    if not isinstance(value, list):
        return None
    texts = [clean_caption(each) for each in value if _is_text(each)]
    return next((text for text in texts if text), None if value and not texts else "")


def _is_text(value: object) -> bool:
    """Numbers are written as text; those of parsed_json are text already."""
    return isinstance(value, str | bytes | int | float) and not isinstance(value, bool)
