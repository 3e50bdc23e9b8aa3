"""What is said of an upstream image: one caption as it might stand beside it on the web, and other ways to say it."""

import hashlib
from collections.abc import Sequence

import numpy as np

from touchstone_miniverse.icons import Drawing
from touchstone_miniverse.sources import Kind, Source

KEYWORD_LIMIT = 8
# People also call a picture by something wider or looser than its name: "animal", "mammal", "pet".
LOOSELY_CALLED = 0.15


def caption(drawing: Drawing, source: Source) -> str:
    """`<name>, <style>, <keywords...>, <category>`; the name always stands first, unbroken, so it can be searched."""
    name = drawing.emoji.name if drawing.emoji else drawing.words
    keywords = drawing.emoji.keywords if drawing.emoji else drawing.keywords
    category = drawing.emoji.category if drawing.emoji else ""
    style = f"{source.style} emoji" if source.kind is Kind.EMOJI else source.style
    shown = [word for word in keywords if word.lower() not in (name.lower(), category)][:KEYWORD_LIMIT]
    return ", ".join(part for part in (name, style, *shown, category) if part)


def captions(drawing: Drawing, source: Source) -> list[str]:
    """Short captions that are each true of the picture, the name first: aliases, keywords, phrases, style."""
    full = caption(drawing, source)
    name, style = full.split(", ")[0], f"{source.style} emoji" if source.kind is Kind.EMOJI else source.style
    aliases = drawing.emoji.aliases if drawing.emoji else ()
    keywords = [word for word in full.split(", ")[1:] if word != style]
    said = [name, f"{name}, {style}", f"an icon of {name}", *aliases, *keywords[:KEYWORD_LIMIT]]
    return list(dict.fromkeys(part for part in said if part))


def fixed_rank(key: str) -> str:
    """A fixed pseudo-random rank of an image: orders the shards and draws fixed fractions (sha256 of the key)."""
    return hashlib.sha256(f"miniverse:{key}".encode()).hexdigest()


def said_subject(name: str, keywords: Sequence[str], rng: np.random.Generator) -> str:
    """What a caption calls its picture: mostly its name, now and then a keyword (the last of them is its category)."""
    if keywords and rng.random() < LOOSELY_CALLED:
        return keywords[int(rng.integers(len(keywords)))]
    return name
