"""When two pictures of the same thing are the same drawing, perhaps recoloured or reshaded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from touchstone_miniverse.render import decode

COMPARED_SIDE = 32
# Root mean square of the difference in RGB steps of 255, at 32 px. Of Microsoft's two sets, which share their
# drawings, 70 % of the pairs lie below it; of the same emoji by two unrelated vendors 0.1 % (Noto and OpenMoji) to
# 8 % (Mozilla and Twitter).
SAME_DRAWING = 30.0


def small_pixels(image: bytes) -> NDArray[np.float32]:
    """(32, 32, 3) in steps of 255."""
    side = (COMPARED_SIDE, COMPARED_SIDE)
    return np.asarray(decode(image).resize(side, Image.Resampling.BOX), np.float32)


def nearest_difference(image: bytes, others: Sequence[bytes]) -> float:
    """Root mean square difference to the most similar of `others`; infinite without any."""
    own = small_pixels(image)
    return min((float(np.sqrt(np.mean((own - small_pixels(other)) ** 2))) for other in others), default=np.inf)


def same_drawing(image: bytes, others: Sequence[bytes]) -> bool:
    """Whether any of `others`, pictures of the same thing, is the same drawing."""
    return nearest_difference(image, others) < SAME_DRAWING


def group_leaders(images: Sequence[bytes]) -> list[int]:
    """For each picture of one thing the position of the first picture whose drawing it repeats, else its own."""
    leaders: list[int] = []
    for position, image in enumerate(images):
        heads = [head for head in dict.fromkeys(leaders) if same_drawing(image, [images[head]])]
        leaders.append(heads[0] if heads else position)
    return leaders
