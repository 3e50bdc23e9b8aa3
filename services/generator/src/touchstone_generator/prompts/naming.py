"""Whether a caption names its class."""

from touchstone_contracts.catalogue import ClassLabel
from touchstone_runtime.words import words_of


def names_class(text: str, label: ClassLabel) -> bool:
    """One of the class's names stands in `text` as a text match of mode `phrase` finds it."""
    words = _words(text)
    names = {label.display_name, label.prompt_name, *label.aliases}
    return any(f" {_words(name)} " in f" {words} " for name in names if _words(name))


def _words(text: str) -> str:
    return " ".join(words_of(text))
