"""Which captions hold the words of a query. Of 65,536 captions at a time those words are listed that any query asks
for, with the captions that hold them; phrases are then looked for in the few captions that hold all their words."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from touchstone_runtime.plurals import with_plurals
from touchstone_runtime.words import are_joined, in_words, separate_parts, spaced_parts, words_of_each

CAPTIONS_AT_A_TIME = 65_536

WordMode = Literal["phrase", "all_tokens", "words_or_phrase", "joined_words"]
Phrases = tuple[str, ...]
"""Words with a blank between, all of which a caption must hold somewhere."""


@dataclass(frozen=True)
class CaptionSearch:
    """What a query asks for: one of `alternatives`. Without any it asks for nothing."""

    alternatives: tuple[Phrases, ...]

    @property
    def phrases(self) -> Iterator[str]:
        return (phrase for phrases in self.alternatives for phrase in phrases)

    def __str__(self) -> str:
        """For people: `"tiger lily" or "tiger lilies"`."""
        return " or ".join(" and ".join(f'"{phrase}"' for phrase in phrases) for phrases in self.alternatives)


def searches_for(queries: Sequence[str], mode: WordMode, plurals: bool = False) -> list[CaptionSearch]:
    """By position in `queries`. One without a word asks for nothing."""
    return [_search(tuple(dict.fromkeys(phrases)), plurals) for phrases in _phrases(queries, mode)]


def _search(phrases: Phrases, plurals: bool) -> CaptionSearch:
    if not phrases:
        return CaptionSearch(())
    last = with_plurals(phrases[-1]) if plurals else [phrases[-1]]
    return CaptionSearch(tuple((*phrases[:-1], phrase) for phrase in last))


def _phrases(queries: Sequence[str], mode: WordMode) -> list[list[str]]:
    match mode:
        case "phrase":
            return [[" ".join(words)] if words else [] for words in words_of_each(queries)]
        case "all_tokens":
            return separate_parts(queries)
        case "joined_words":
            return spaced_parts(queries)
        case "words_or_phrase":
            either = zip(are_joined(queries), _phrases(queries, "phrase"), separate_parts(queries), strict=True)
            return [phrase if joined else words for joined, phrase, words in either]


def matching_rows(captions: pa.ChunkedArray, searches: Sequence[CaptionSearch], limit: int) -> list[np.ndarray]:
    """For each search the first `limit` rows, in their order, whose caption it finds."""
    wanted = _Wanted(searches)
    found: list[list[np.ndarray]] = [[] for _ in searches]
    counts = [0] * len(searches)
    for first in range(0, len(captions), CAPTIONS_AT_A_TIME):
        words = _WordsOfCaptions(captions[first : first + CAPTIONS_AT_A_TIME].combine_chunks(), wanted)
        for number, search in enumerate(searches):
            if counts[number] < limit:
                rows = words.rows(search)[: limit - counts[number]]
                found[number].append(rows + first)
                counts[number] += len(rows)
    return [np.concatenate(rows) if rows else np.empty(0, dtype=np.int64) for rows in found]


class _Wanted:
    """The words that some search asks for."""

    def __init__(self, searches: Iterable[CaptionSearch]) -> None:
        words = dict.fromkeys(word for search in searches for phrase in search.phrases for word in phrase.split(" "))
        self.numbers = {word: number for number, word in enumerate(words)}
        self.array = pa.array([*words], pa.string())


class _WordsOfCaptions:
    def __init__(self, captions: pa.Array, wanted: _Wanted) -> None:
        words = in_words(captions)
        self._numbers = wanted.numbers
        # With a blank on either side, so that phrases are found as whole words.
        self._captions = pc.binary_join_element_wise("", words, "", " ")
        lists = pc.split_pattern(words, " ")
        numbers = pc.index_in(lists.flatten(), value_set=wanted.array)
        rows = pc.list_parent_indices(lists).filter(numbers.is_valid()).to_numpy()
        pairs = np.sort(numbers.drop_null().to_numpy().astype(np.int64) << 32 | rows)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # a caption may hold a word twice
        self._rows = pairs & 0xFFFFFFFF
        self._starts = np.searchsorted(pairs, np.arange(len(wanted.numbers) + 1) << 32)

    def rows(self, search: CaptionSearch) -> np.ndarray:
        found = [self._with_all(phrases) for phrases in search.alternatives]
        return reduce(np.union1d, found) if found else np.empty(0, dtype=np.int64)

    def _with_all(self, phrases: Phrases) -> np.ndarray:
        words = {word for phrase in phrases for word in phrase.split(" ")}
        rows = reduce(_in_both, sorted((self._with_word(word) for word in words), key=len))
        for phrase in phrases:
            if " " in phrase and len(rows):
                rows = rows[pc.match_substring(self._captions.take(pa.array(rows)), f" {phrase} ").to_numpy(False)]
        return rows

    def _with_word(self, word: str) -> np.ndarray:
        number = self._numbers[word]
        return self._rows[self._starts[number] : self._starts[number + 1]]


def _in_both(few: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Both rise; the time is that of the few, but for a logarithm."""
    if not len(many):
        return many
    positions = np.searchsorted(many, few)
    return few[many[np.minimum(positions, len(many) - 1)] == few]
