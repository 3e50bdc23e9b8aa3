"""The six targets: which emoji are classes, how they are named and prompted, and who holds their images."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from touchstone_miniverse.emoji_names import EmojiName
from touchstone_miniverse.sources import Role

# A class needs this many upstream drawings, or there is little to retrieve for it.
MINIMUM_UPSTREAM = 3
# Territories that fly the flag of another country, and the two countries whose flags differ only in shade or
# proportions (Chad from Romania, Monaco from Indonesia): no picture can tell such classes apart.
SHARED_FLAGS = frozenset(
    "flag of " + territory
    for territory in (
        "Bouvet Island", "Svalbard & Jan Mayen", "Heard & McDonald Islands", "St. Martin", "Clipperton Island",
        "U.S. Outlying Islands", "Diego Garcia", "Ceuta & Melilla", "Sark", "Caribbean Netherlands", "Guadeloupe",
        "French Guiana", "Reunion", "Mayotte", "St. Pierre & Miquelon", "Wallis & Futuna", "Chad", "Monaco",
    )
)  # fmt: skip
FACE_SUBGROUPS = (
    "smiling", "affectionate", "with tongue", "with hands", "neutral / skeptical", "sleepy", "unwell", "with hats",
    "with glasses", "concerned", "negative", "costumed & creatures", "cat faces", "monkey faces",
)  # fmt: skip
BROAD_CLASSES: dict[str, tuple[str, ...]] = {
    "mammal": ("mammals",),
    "bird": ("birds",),
    "sea animal": ("marine life",),
    "insect": ("bugs",),
    "plant": ("flowers", "other plants"),
    "fruit": ("fruit",),
    "vegetable": ("vegetables",),
    "meal": ("cooked / prepared", "asian"),
    "dessert": ("sweets & candy",),
    "drink": ("drink",),
    "building": ("buildings", "religious buildings"),
    "land vehicle": ("ground transportation",),
    "weather": ("weather",),
    "clothing": ("clothing",),
    "sport": ("sports",),
}
# Traffic lights, stations and signs stand among the vehicles of the emoji standard.
NOT_IN_BROAD = frozenset({"stop sign", "construction", "bus stop", "fuel pump", "hollow red circle", "wheel"})


@dataclass(frozen=True)
class TargetClass:
    """One class: its id, its name in captions and prompts, and the emoji (hexcodes) that depict it."""

    id: int
    name: str
    hexcodes: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """One classification target before its images are attached."""

    name: str
    classes: tuple[TargetClass, ...]
    templates: Mapping[str, tuple[str, ...]]


def build_targets(
    names: Sequence[EmojiName], upstream: Counter[str], held_out: Mapping[Role, Counter[str]]
) -> list[Target]:
    """All targets. The counters give drawings per hexcode: upstream, and in each of the roles held out of it."""
    able = [
        name
        for name in names
        if upstream[name.hexcode] >= MINIMUM_UPSTREAM and all(drawn[name.hexcode] for drawn in held_out.values())
    ]
    fine: dict[str, Callable[[EmojiName], bool]] = {
        "flags": lambda name: name.subgroup in ("country flags", "subdivision flags") and name.name not in SHARED_FLAGS,
        "animals": lambda name: name.subgroup in ("mammals", "birds", "amphibians", "reptiles", "marine life", "bugs"),
        "food": lambda name: name.group == "food & drink" and name.subgroup != "dishware",
        "faces": lambda name: name.subgroup in FACE_SUBGROUPS,
        "transport": lambda name: (
            name.subgroup in ("ground transportation", "water transportation", "air transportation")
        ),
    }
    targets = [_fine_target(target, [name for name in able if wanted(name)]) for target, wanted in fine.items()]
    return [*targets, _broad_target(able)]


def _fine_target(target: str, names: Sequence[EmojiName]) -> Target:
    classes = tuple(
        TargetClass(number, name.name, (name.hexcode,)) for number, name in enumerate(sorted(names, key=_by_name))
    )
    return Target(target, classes, templates_of(target))


def _broad_target(names: Sequence[EmojiName]) -> Target:
    classes = []
    for number, (word, subgroups) in enumerate(BROAD_CLASSES.items()):
        members = [name.hexcode for name in names if name.subgroup in subgroups and name.name not in NOT_IN_BROAD]
        classes.append(TargetClass(number, word, tuple(sorted(members))))
    return Target("broad", tuple(classes), templates_of("broad"))


def _by_name(name: EmojiName) -> str:
    return name.name.lower()


def templates_of(target: str) -> dict[str, tuple[str, ...]]:
    """Prompt templates by use; `{name}` is the class. Styles named in `synthesis` are upstream styles."""
    picture = "flag icon" if target == "flags" else "emoji"
    return {
        "retrieval": ("{name}", f"{{name}}, {picture}", "an icon of {name}"),
        "filter": ("{name}", f"{{name}}, {picture}", "an icon of {name}"),
        "zero_shot": ("{name}", f"{{name}}, {picture}", "an icon of {name}", "a picture of {name}"),
        "synthesis": _SYNTHESIS_FLAGS if target == "flags" else _SYNTHESIS_EMOJI,
    }


_SYNTHESIS_EMOJI = (
    "{name}, flat twemoji style emoji",
    "{name}, emojione style emoji",
    "{name}, flat fluent style emoji",
    "{name}, shaded fluent style emoji",
    "{name}, outlined streamline style emoji",
    "{name}, glossy emojione classic style emoji",
)
_SYNTHESIS_FLAGS = (
    "{name}, rectangular flag icon",
    "{name}, small flag icon",
    "{name}, simple flag icon",
    "{name}, flat twemoji style emoji",
    "{name}, emojione style emoji",
    "{name}, glossy emojione classic style emoji",
)
