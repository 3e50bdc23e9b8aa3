"""Captions as the web gives them: some belong to another picture, some say next to nothing."""

import random
from collections.abc import Sequence

# What stands in an alt text when nobody wrote one.
EMPTY_WORDS = ("image", "icon", "photo", "untitled", "click to enlarge", "download free", "logo", "thumbnail")
SHOP_WORDS = ("best price", "free shipping", "set of 12 stickers", "buy now", "vector illustration", "limited offer")


def noisy_caption(key: str, caption: str, others: Sequence[str], share: float) -> str:
    """`caption`, or with probability `share` something the web might say instead; fixed by `key` alone.

    Four kinds, equally likely: another picture's caption, a file name, words that describe nothing, a shop's text
    around a keyword. Raises ValueError unless 0 <= share <= 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of noisy captions is between 0 and 1, not {share}")
    draw = random.Random(f"miniverse caption noise:{key}")
    if draw.random() >= share:
        return caption
    name, *keywords = caption.split(", ")
    match draw.randrange(4):
        case 0:
            return draw.choice(others)
        case 1:
            return f"img_{draw.randrange(10_000):04d}.png"
        case 2:
            return draw.choice(EMPTY_WORDS)
        case _:
            return f"{draw.choice(keywords or [name])}, {draw.choice(SHOP_WORDS)}"
