"""Which of its names most captions call a class by: the most frequent synonym of REAL-Prompt, arXiv 2401.12425.

Names are compared as a text match of mode `phrase` compares them. Captions are counted as they are; REAL also asks a
language model which of them mean the class."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa
from touchstone_contracts.catalogue import ClassLabel
from touchstone_runtime.words import Words, words_of, words_of_each

from touchstone_retrieval.strategies.caption_search import CaptionSearch, matching_rows


def count_captions(names: Iterable[str], captions: pa.ChunkedArray) -> Counter[Words]:
    """How many captions hold the words of each name, adjacent and in order."""
    wanted = list(dict.fromkeys(words for words in words_of_each([*names]) if words))
    found = matching_rows(captions, [CaptionSearch(((" ".join(words),),)) for words in wanted], len(captions))
    return Counter({words: len(rows) for words, rows in zip(wanted, found, strict=True)})


def most_frequent_names(classes: Sequence[ClassLabel], counts: Mapping[Words, int]) -> list[str]:
    """By position in `classes`; of equally frequent names the registered one, then the aliases in their order.

    Two kinds of aliases are not taken: one that another class has too, and one whose words are but a part of the
    registered name's ("car" of "sports car"), which is at least as frequent without meaning the class (so in REAL's
    code, shubhamprshr27/NeglectedTailsVLM at 1ca33df)."""
    owners = Counter(words for label in classes for words in {words_of(name) for name in names_of(label)})
    return [_most_frequent(label, counts, owners) for label in classes]


def names_of(label: ClassLabel) -> tuple[str, ...]:
    return label.display_name, *label.aliases


def _most_frequent(label: ClassLabel, counts: Mapping[Words, int], owners: Mapping[Words, int]) -> str:
    own = set(words_of(label.display_name))
    aliases = [name for name in label.aliases if owners[words_of(name)] == 1 and not set(words_of(name)) < own]
    return max((label.display_name, *aliases), key=lambda name: counts.get(words_of(name), 0))
