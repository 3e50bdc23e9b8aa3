"""Names, keywords and subgroups of emoji, and the way from a vendor's icon name to them (emojibase, MIT)."""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

SKIN_TONES = frozenset({"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"})
# Words a reader of the open web would use for a whole subgroup of emoji; they end up in the captions.
CATEGORY_WORDS = {
    "mammals": "mammal", "birds": "bird", "amphibians": "amphibian", "reptiles": "reptile",
    "marine life": "sea animal", "bugs": "insect", "flowers": "plant", "other plants": "plant", "fruit": "fruit",
    "vegetables": "vegetable", "cooked / prepared": "meal", "asian": "meal", "seafood": "seafood",
    "sweets & candy": "dessert", "drink": "drink", "dishware": "dishware", "buildings": "building",
    "religious buildings": "building", "ground transportation": "land vehicle", "water transportation": "ship",
    "air transportation": "aircraft", "weather": "weather", "sports": "sport", "clothing": "clothing",
    "musical instruments": "musical instrument", "tools": "tool", "country flags": "country flag",
    "subdivision flags": "regional flag", "cat faces": "cat face", "monkey faces": "monkey face",
    "roles & careers": "person", "family": "family", "hearts": "heart",
}  # fmt: skip


@dataclass(frozen=True)
class EmojiName:
    """One emoji: its name in captions and classes, other names people use, keywords, subgroup and everyday word."""

    hexcode: str
    name: str
    aliases: tuple[str, ...]
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    category: str


def plain(text: str) -> str:
    """Text in ASCII letters: accents and typographic quotes folded, so that one spelling exists."""
    folded = unicodedata.normalize("NFKD", text.replace("’", "'").replace("“", "").replace("”", ""))
    return folded.encode("ascii", "ignore").decode().strip()


def squeeze(text: str) -> str:
    """Letters and digits only, lower case: the form in which vendors' names are compared."""
    return re.sub(r"[^a-z0-9]", "", plain(text).lower())


def caption_name(label: str) -> str:
    """`flag: Canada` reads `flag of Canada` in a caption; other labels stay."""
    return plain(label.replace("flag: ", "flag of ") if label.startswith("flag: ") else label)


# Flags that some sets name otherwise than by the two letters their emoji is made of.
FLAG_CODES = {"european-union": "eu", "es-cn": "ic", "sh-hl": "sh"}


class EmojiIndex:
    """Finds the EmojiName of a code point sequence, of an ISO country code, or of a vendor's icon name."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """`files` are the members of the emojibase package, by path."""
        messages = json.loads(files["en/messages.json"])
        groups = {entry["order"]: entry["message"] for entry in messages["groups"]}
        subgroups = {entry["order"]: entry["message"] for entry in messages["subgroups"]}
        entries = [entry for entry in json.loads(files["en/data.json"]) if "group" in entry]
        aliases = _aliases(files)
        self.by_hexcode = {
            (code := _code(entry["hexcode"])): _emoji_name(entry, aliases.get(code, []), groups, subgroups)
            for entry in entries
        }
        self._by_word: dict[str, EmojiName] = {}
        self._fill_words(files, entries)
        self._by_country = {
            squeeze(emoji.name.removeprefix("flag of ")): emoji
            for emoji in self.by_hexcode.values()
            if emoji.subgroup in ("country flags", "subdivision flags")
        }

    def from_hexcode(self, hexcode: str) -> EmojiName | None:
        """By code points such as `1f1e8-1f1e6`; variation selectors are ignored."""
        return self.by_hexcode.get(_code(hexcode))

    def from_flag_code(self, code: str) -> EmojiName | None:
        """By ISO code: `ca`, or `gb-sct` for the three subdivisions that have an emoji."""
        code = FLAG_CODES.get(code, code)
        if re.fullmatch(r"[a-z]{2}", code):
            return self.from_hexcode("-".join(f"{0x1F1E6 + ord(letter) - ord('a'):X}" for letter in code))
        if code in ("gb-eng", "gb-sct", "gb-wls"):
            tags = "-".join(f"{0xE0000 + ord(letter):X}" for letter in code.replace("-", ""))
            return self.from_hexcode(f"1F3F4-{tags}-E007F")
        return None

    def from_word(self, name: str) -> EmojiName | None:
        """By a vendor's icon name, compared without separators; countries also by `flag-for-x` and `flag-x`."""
        for prefix in ("flag-for-flag-", "flag-for-", "flag-"):
            if name.startswith(prefix) and (found := self._by_country.get(squeeze(name.removeprefix(prefix)))):
                return found
        return self._by_word.get(squeeze(name))

    def from_country(self, name: str) -> EmojiName | None:
        """By the bare name of a country or territory."""
        return self._by_country.get(squeeze(name))

    def _fill_words(self, files: Mapping[str, bytes], entries: list[dict]) -> None:
        for emoji in self.by_hexcode.values():
            self._by_word.setdefault(squeeze(emoji.name), emoji)
        for entry in entries:
            emoji = self.by_hexcode[_code(entry["hexcode"])]
            formal = unicodedata.name(entry["emoji"][0], "") if len(entry["emoji"].rstrip("\ufe0f")) == 1 else ""
            if formal:
                self._by_word.setdefault(squeeze(formal), emoji)
        for code, shortcode in _shortcodes(files):
            if code in self.by_hexcode:
                self._by_word.setdefault(squeeze(shortcode), self.by_hexcode[code])


def _code(hexcode: str) -> str:
    return "-".join(part for part in hexcode.upper().split("-") if part not in ("FE0F", "200D"))


def has_skin_tone(hexcode: str) -> bool:
    """True for the five skin-tone variants of a person or hand."""
    return any(part in SKIN_TONES for part in hexcode.upper().split("-"))


def _shortcodes(files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """Code points and one of the words people type for them (`pizza_slice`), system by system."""
    for system in ("cldr", "joypixels", "iamcal", "github", "emojibase"):
        for hexcode, words in sorted(json.loads(files[f"en/shortcodes/{system}.json"]).items()):
            for word in [words] if isinstance(words, str) else words:
                yield _code(hexcode), word


def _aliases(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    """Short codes that read as words, by code points."""
    found: dict[str, list[str]] = {}
    for code, shortcode in _shortcodes(files):
        words = shortcode.replace("_", " ").replace("-", " ")
        if re.fullmatch(r"[a-z][a-z ]{2,30}", words) and words not in found.setdefault(code, []):
            found[code].append(words)
    return found


def _emoji_name(
    entry: dict, aliases: Sequence[str], groups: Mapping[int, str], subgroups: Mapping[int, str]
) -> EmojiName:
    subgroup = subgroups[entry["subgroup"]]
    name = caption_name(entry["label"])
    return EmojiName(
        hexcode=entry["hexcode"],
        name=name,
        aliases=tuple(alias for alias in aliases if alias != name.lower()),
        keywords=tuple(plain(tag) for tag in entry.get("tags", ())),
        group=groups[entry["group"]],
        subgroup=subgroup,
        category=CATEGORY_WORDS.get(subgroup, subgroup),
    )
