"""What a causal language model is shown before it continues: an instruction and examples per mode (paper section 2.1).

Three examples are drawn for every caption. The banks are our own and smaller than the paper's. A change to them changes
captions: raise the version of WRITE_CAPTIONS with it."""

from collections.abc import Mapping
from typing import NamedTuple

from touchstone_contracts.arms.prompts import CaptionMode

EXAMPLES_SHOWN = 3


class Bank(NamedTuple):
    instruction: str
    examples: tuple[tuple[str, str], ...]
    """(what is asked, caption that answers it)"""


BANKS: Mapping[CaptionMode, Bank] = {
    "class_only": Bank(
        "Write one image caption that mentions the given object.",
        (
            ("teapot", "a chipped teapot drying beside the sink"),
            ("barn owl", "a barn owl looks over its shoulder at the camera"),
            ("tram", "an old yellow tram climbs a steep street"),
            ("oak", "low winter sun behind the branches of an oak"),
            ("violin", "a musician tunes her violin before the concert"),
            ("lighthouse", "waves break below a striped lighthouse"),
            ("hedgehog", "a hedgehog sniffs at a fallen apple"),
            ("canoe", "two friends paddle a canoe across a calm lake"),
            ("typewriter", "close view of the worn keys of a typewriter"),
            ("pancake", "a pancake with blueberries on a blue plate"),
        ),
    ),
    "relation": Bank(
        "Write one image caption in which the given object stands in the given relation to something else.",
        (
            ("teapot, next to", "a teapot next to a bowl of lemons"),
            ("barn owl, above", "a barn owl glides above a mown field"),
            ("tram, behind", "a tram waits behind a delivery van"),
            ("oak, in front of", "an oak in front of a white farmhouse"),
            ("violin, on", "a violin lies on a velvet chair"),
            ("lighthouse, over", "a lighthouse rises over the roofs of the village"),
            ("hedgehog, under", "a hedgehog hides under a garden bench"),
            ("canoe, below", "a canoe drifts below a wooden bridge"),
            ("typewriter, in", "a typewriter in an open suitcase"),
            ("pancake, besides", "a pancake besides a jar of honey"),
        ),
    ),
    "background": Bank(
        "Write one image caption that shows the given object in the given scene.",
        (
            ("teapot, campsite", "a tin teapot steams over the fire of a campsite"),
            ("barn owl, ruined castle", "a barn owl sits in a window of a ruined castle"),
            ("tram, snowstorm", "the lights of a tram appear in a snowstorm"),
            ("oak, golf course", "an oak throws its shade over a golf course"),
            ("violin, subway station", "someone plays the violin in a subway station"),
            ("lighthouse, rocky coast", "a lighthouse on a rocky coast in the evening"),
            ("hedgehog, flower bed", "a hedgehog walks through a flower bed after rain"),
            ("canoe, mountain lake", "a red canoe pulled ashore at a mountain lake"),
            ("typewriter, attic", "a dusty typewriter stands in an attic"),
            ("pancake, street market", "a cook turns a pancake at a street market"),
        ),
    ),
    "texture": Bank(
        "Write one image caption that shows the given texture on some surface.",
        (
            ("woolly", "a woolly pullover folded on a chair"),
            ("rusty", "close view of a rusty garden gate"),
            ("checkered", "a checkered tablecloth spread on the grass"),
            ("mossy", "mossy stones along a forest stream"),
            ("glossy", "glossy paint on the hood of a car"),
            ("wavy", "wavy lines in the sand after the tide"),
            ("cracked", "cracked mud on the bed of a dry lake"),
            ("speckled", "speckled eggs in a nest of twigs"),
        ),
    ),
}
