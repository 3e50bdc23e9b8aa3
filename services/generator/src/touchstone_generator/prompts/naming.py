"""Whether a caption names its class."""

import re

from touchstone_contracts.catalogue import ClassLabel


def names_class(text: str, label: ClassLabel) -> bool:
    """One of the class's names stands in `text` as whole words, in order; case and punctuation do not count."""
    words = _words(text)
    names = {label.display_name, label.prompt_name, *label.aliases}
    return any(f" {_words(name)} " in f" {words} " for name in names if _words(name))


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
