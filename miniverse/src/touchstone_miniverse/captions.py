"""One caption per upstream image, as it might stand beside the picture on the web."""

import hashlib

from touchstone_miniverse.icons import Drawing
from touchstone_miniverse.sources import Kind, Source

KEYWORD_LIMIT = 8


def caption(drawing: Drawing, source: Source) -> str:
    """`<name>, <style>, <keywords...>, <category>`; the name always stands first, unbroken, so it can be searched."""
    name = drawing.emoji.name if drawing.emoji else drawing.words
    keywords = drawing.emoji.keywords if drawing.emoji else drawing.keywords
    category = drawing.emoji.category if drawing.emoji else ""
    style = f"{source.style} emoji" if source.kind is Kind.EMOJI else source.style
    shown = [word for word in keywords if word.lower() not in (name.lower(), category)][:KEYWORD_LIMIT]
    return ", ".join(part for part in (name, style, *shown, category) if part)


def fixed_rank(key: str) -> str:
    """A fixed pseudo-random rank of an image: orders the shards and draws fixed fractions (sha256 of the key)."""
    return hashlib.sha256(f"miniverse:{key}".encode()).hexdigest()
