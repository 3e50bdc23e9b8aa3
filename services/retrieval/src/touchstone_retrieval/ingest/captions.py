"""Captions as found on the web, made fit for tokenizers, tar members and screens."""

import unicodedata

MAX_CHARACTERS = 2000
"""CLIP reads at most 77 tokens; beyond this a caption is a page, not a caption."""

MOST_CAPTION_BYTES = 64 * 1024
"""Read of a file that holds a caption."""


def clean_caption(raw: object) -> str:
    """One line of printable text: nothing for null, undecodable bytes replaced, control characters and runs of white
    space turned into one space, cut at MAX_CHARACTERS."""
    if raw is None:
        return ""
    if isinstance(raw, bytes):
        text = raw[:MOST_CAPTION_BYTES].decode("utf-8", errors="replace")
    else:
        text = str(raw)[:MOST_CAPTION_BYTES]
    # "C" are control, format, surrogate, private and unassigned code points; the joiner inside emoji is kept.
    visible = "".join(c if unicodedata.category(c)[0] != "C" or c == "\u200d" else " " for c in text)
    return " ".join(visible.split())[:MAX_CHARACTERS].rstrip()
