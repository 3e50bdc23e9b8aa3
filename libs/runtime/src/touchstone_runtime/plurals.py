"""English plurals of names, by the rules of regular nouns and a list of irregular ones.

A form that no writer uses is in no caption, so where English has two endings both are looked for."""

import re

IRREGULAR = {
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "louse": "lice",
    "man": "men",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "quiz": "quizzes",
    "tooth": "teeth",
    "woman": "women",
}
_ENDINGS_IN_MEN = ("man", "woman")
"""Also of compounds, such as fireman; "human" and "german" take an s as well."""
_RULES = (
    (re.compile(r"(?<=[^aeiou])y$"), "ies"),
    (re.compile(r"(?<=[lrnoaei])f$|(?<=i)fe$"), "ves"),
    (re.compile(r"(?<=s|x|z|o)$|(?<=ch|sh)$"), "es"),
)
_LETTERS = re.compile(r"[a-z]{2,}")


def with_plurals(words: str) -> list[str]:
    """Words with a blank between, then the same with the last one in the plural; alone where it is no English word."""
    before, blank, last = words.rpartition(" ")
    if not _LETTERS.fullmatch(last):
        return [words]
    return [words, *(before + blank + plural for plural in plurals_of(last))]


def plurals_of(noun: str) -> list[str]:
    """In lower case."""
    forms = [pattern.sub(ending, noun) for pattern, ending in _RULES if pattern.search(noun)]
    if noun in IRREGULAR:
        forms.append(IRREGULAR[noun])
    elif noun.endswith(_ENDINGS_IN_MEN):
        forms.append(noun.removesuffix("an") + "en")
    return list(dict.fromkeys((*forms, f"{noun}s")))
