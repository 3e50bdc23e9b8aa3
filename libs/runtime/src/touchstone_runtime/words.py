r"""Texts as words: how captions, queries and names of classes are compared wherever words count.

A word is a maximal run of letters, marks and digits; everything else separates words. Before that
- invisible characters (soft hyphens, zero-width characters, joiners, variation selectors) are removed;
- composed and decomposed letters, wide and narrow forms and ligatures become one form (NFKC), and case is folded: `ß`
  is `ss`, `Σ` and `ς` are `σ`, the Turkish `İ` is `i` with a dot above and the Turkish `ı` is `i`;
- `'s` at the end of a word is removed, so that "dog's" is "dog"; any other apostrophe separates, as hyphens do.

Scripts that are written without blanks between words, such as Chinese and Thai, have no words to be told apart: each of
their letters, with its marks, is a word of its own, and a name is found anywhere within a run of them.

Everything is computed by Arrow, whose tables of Unicode (utf8proc's and RE2's) come with it: nothing depends on the
Unicode version of the Python that runs it, and every step is linear in the length of the text. A call costs some 5 ms
whatever the number of texts, since RE2 compiles its patterns anew: ask for many at once."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

Words = tuple[str, ...]

# Default_Ignorable_Code_Point of Unicode 16.
_INVISIBLE = (
    r"[\x{ad}\x{34f}\x{61c}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}\x{200b}-\x{200f}\x{202a}-\x{202e}"
    r"\x{2060}-\x{206f}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}\x{fff0}-\x{fff8}\x{1bca0}-\x{1bca3}"
    r"\x{1d173}-\x{1d17a}\x{e0000}-\x{e0fff}]+"
)
# Typographic, wide and modifier forms, accents and primes typed instead of one, Hebrew's geresh, Armenian's.
_APOSTROPHE = r"[\x{60}\x{b4}\x{2b9}-\x{2bd}\x{55a}\x{5f3}\x{2018}-\x{201b}\x{2032}\x{2035}\x{a78c}\x{ff07}]"
_POSSESSIVE = r"([\pL\pM\pN])'s([^\pL\pM\pN]|$)"
# "Lego™" is not "legotm": symbols go before NFKC makes letters of them.
_SYMBOL = r"\p{So}"
_SEPARATOR = r"[^\pL\pM\pN]+"
_JOINED = r"[\p{Pd}\x{2d}\x{2212}/\x{2044}\x{2215}]"
_UNSPACED = "".join(
    rf"\p{{{script}}}"
    for script in (
        "Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar",
        "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Javanese", "Balinese",
    )
)  # fmt: skip
# With it a letter goes on that stands below another one: the signs of Khmer, Myanmar, Tai Tham, Javanese and Balinese.
_STACKING = r"[\x{17d2}\x{1039}\x{1a60}\x{a9c0}\x{1b44}]"
_DIGITS = r"[\x{e50}-\x{e59}\x{ed0}-\x{ed9}\x{17e0}-\x{17e9}\x{1040}-\x{1049}\x{1b50}-\x{1b59}\x{a9d0}-\x{a9d9}]+"
# The long vowel sign of Japanese (U+30FC) belongs to the letter before it.
_UNIT = rf"({_DIGITS}|[{_UNSPACED}](?:{_STACKING}[{_UNSPACED}]|\pM|\x{{30fc}})*)"


def in_words(texts: pa.Array) -> pa.Array:
    """(n,) strings -> (n,) strings: the words of each with a blank between; null stays null."""
    return _spaced(_folded(texts))


def words_of_each(texts: Sequence[str]) -> list[Words]:
    """By position in `texts`."""
    return [tuple(words.split()) for words in in_words(pa.array(texts, pa.string())).to_pylist()]


@lru_cache(maxsize=65_536)
def words_of(text: str) -> Words:
    return words_of_each([text])[0]


def spaced_parts(texts: Sequence[str]) -> list[list[str]]:
    """The words of each part of a text between white space, with blanks between; parts without a word are left out."""
    return _parts_in_words(_folded(pa.array(texts, pa.string())))


def separate_parts(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text one by one, but those of a run of letters that is written without blanks together."""
    return _parts_in_words(_separated(_folded(pa.array(texts, pa.string()))))


def are_joined(texts: Sequence[str]) -> list[bool]:
    """Whether a hyphen of any kind or a slash stands in each."""
    joined: list[bool] = pc.match_substring_regex(_folded(pa.array(texts, pa.string())), _JOINED).to_pylist()
    return joined


def is_unspaced(letter: str) -> bool:
    """Whether it is of a script that is written without blanks between words."""
    return bool(pc.match_substring_regex(pa.scalar(letter), f"^[{_UNSPACED}]").as_py())


def _parts_in_words(texts: pa.Array) -> list[list[str]]:
    parts = [text.split() for text in texts.to_pylist()]
    words = iter(_spaced(pa.array([part for each in parts for part in each], pa.string())).to_pylist())
    return [[part for part in islice(words, len(each)) if part] for each in parts]


def _folded(texts: pa.Array) -> pa.Array:
    """Fit to be cut into words."""
    seen = pc.replace_substring_regex(texts, _INVISIBLE, "")
    seen = pc.replace_substring_regex(seen, _SYMBOL, " ")
    seen = pc.utf8_normalize(pc.replace_substring_regex(seen, _APOSTROPHE, "'"), form="NFKD")
    # Unicode's full case folding: what is one letter in capitals is one letter. Arrow keeps ß, which has no capital.
    folded = pc.replace_substring(pc.utf8_lower(pc.utf8_upper(seen)), "ß", "ss")
    return pc.replace_substring_regex(pc.utf8_normalize(folded, form="NFC"), _POSSESSIVE, r"\1\2")


def _separated(folded: pa.Array) -> pa.Array:
    return pc.utf8_trim(pc.replace_substring_regex(folded, _SEPARATOR, " "), " ")


def _spaced(folded: pa.Array) -> pa.Array:
    units = pc.replace_substring_regex(_separated(folded), _UNIT, r" \1 ")
    return pc.utf8_trim(pc.replace_substring_regex(units, " +", " "), " ")
