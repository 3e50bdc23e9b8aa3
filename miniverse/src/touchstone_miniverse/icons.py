"""From a fetched package to named drawings: what each vendor calls its pictures, and what they show."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from touchstone_miniverse.emoji_names import EmojiIndex, EmojiName, has_skin_tone, plain
from touchstone_miniverse.render import svg_of_icon
from touchstone_miniverse.sources import Kind, Source

SKIN_TONE_SUFFIX = re.compile(r"-(medium-light|medium-dark|light|medium|dark)$")
SVG_SIZE_LIMIT = 400_000


@dataclass(frozen=True)
class Drawing:
    """One picture before rendering: SVG text or PNG bytes, its name in words and, where known, its emoji."""

    key: str
    content: str | bytes
    words: str
    keywords: tuple[str, ...]
    emoji: EmojiName | None


def members_wanted(source: Source) -> str:
    """Regular expression for the package's files that hold the drawings."""
    match source.name:
        case "openclipart":
            return r"\.svg$"
        case "noto-flags":
            return r"/img/google/64/[0-9a-f-]+\.png$"
        case _:
            return r"package/(icons|chars)\.json$"


def drawings(source: Source, files: Mapping[str, bytes], index: EmojiIndex) -> Iterator[Drawing]:
    """All usable drawings of one source, in a fixed order."""
    if source.name == "openclipart":
        yield from _clip_art(source, files)
    elif source.name == "noto-flags":
        yield from _bitmap_flags(source, files, index)
    else:
        yield from _iconify(source, files, index)


def _iconify(source: Source, files: Mapping[str, bytes], index: EmojiIndex) -> Iterator[Drawing]:
    collection = json.loads(files["icons.json"])
    icons = collection["icons"]
    hexcodes = {name: code for code, name in json.loads(files.get("chars.json", b"{}")).items()}
    for name in sorted(icons):
        icon = icons[name]
        if icon.get("hidden") or _is_variant(name, icons, hexcodes.get(name, "")):
            continue
        emoji = _emoji_of(source, name, hexcodes.get(name), index)
        if emoji is None and (source.kind is Kind.FLAG or source.name == "fxemoji"):
            continue  # a language or province flag, or run-together letters nobody could search for
        yield Drawing(
            key=f"{source.name}/{name}",
            content=_svg(icon, collection),
            words=_words(name),
            keywords=(),
            emoji=emoji,
        )


def _svg(icon: Mapping[str, float | str], collection: Mapping[str, float]) -> str:
    def number(field: str, default: float) -> float:
        return float(icon.get(field, collection.get(field, default)))

    return svg_of_icon(
        str(icon["body"]), number("left", 0), number("top", 0), number("width", 16), number("height", 16)
    )


def _is_variant(name: str, icons: Mapping[str, object], hexcode: str) -> bool:
    """Skin tones of the same drawing, smaller cuts of the same interface icon, outline-only versions."""
    if "skin-tone" in name or re.search(r"-tone\d", name) or (hexcode and has_skin_tone(hexcode)):
        return True
    if SKIN_TONE_SUFFIX.search(name) and SKIN_TONE_SUFFIX.sub("", name) in icons:
        return True
    cut = re.fullmatch(r"(.+)-(\d\d)", name)
    return cut is not None and any(f"{cut[1]}-{larger}" in icons for larger in range(int(cut[2]) + 1, 49))


def _emoji_of(source: Source, name: str, hexcode: str | None, index: EmojiIndex) -> EmojiName | None:
    if source.kind is Kind.INTERFACE:
        return None
    if source.kind is Kind.FLAG:
        return index.from_flag_code(re.sub(r"-(1x1|4x3)$", "", name))
    found = index.from_hexcode(hexcode) if hexcode else None
    bare = re.sub(r"-?\d$", "", name) if source.name in ("streamline-emojis", "emojione-v1") else name
    found = found or index.from_word(name) or index.from_word(bare)
    return found or (index.from_country(bare) if source.name == "streamline-emojis" else None)


def _words(name: str) -> str:
    """`shopping-basket-3-24` reads `shopping basket`."""
    return re.sub(r"( (\d+|duo|flat|fill|color))+$", "", name.replace("-", " ")).strip()


def _bitmap_flags(source: Source, files: Mapping[str, bytes], index: EmojiIndex) -> Iterator[Drawing]:
    for path in sorted(files):
        match = re.fullmatch(r"img/google/64/([0-9a-f-]+)\.png", path)
        emoji = index.from_hexcode(match[1]) if match else None
        if emoji is not None and emoji.subgroup in ("country flags", "subdivision flags"):
            yield Drawing(f"{source.name}/{emoji.hexcode.lower()}", files[path], emoji.name, (), emoji)


DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
# Generated shapes, company and association marks, and road signs by number carry no describable picture.
CLIP_ART_FOLDERS_LEFT_OUT = ("shapes/", "logos/", "signs_and_symbols/logos", "signs_and_symbols/traffic")


def _clip_art(source: Source, files: Mapping[str, bytes]) -> Iterator[Drawing]:
    for path in sorted(files):
        name = path.partition("openclipart/svg/")[2]
        if not name or name.startswith(CLIP_ART_FOLDERS_LEFT_OUT) or len(files[path]) > SVG_SIZE_LIMIT:
            continue
        described = _describe_clip_art(files[path])
        if described is not None:
            title, subjects = described
            folder = name.split("/")[-2].replace("_", " ") if "/" in name else ""
            keywords = tuple(dict.fromkeys([*subjects, folder] if folder else subjects))
            svg = files[path].decode("utf-8", "replace")
            yield Drawing(f"{source.name}/{name.removesuffix('.svg')}", svg, title, keywords, None)


def _describe_clip_art(content: bytes) -> tuple[str, list[str]] | None:
    """Title and subjects of a drawing that declares itself public domain; None without a usable title."""
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return None
    if b"PublicDomain" not in content and b"publicdomain" not in content:
        return None
    title = plain(" ".join((root.findtext(f".//{DUBLIN_CORE}title") or "").replace("_", " ").split())).lower()
    title = re.sub(r"[\s\d.#,-]+$", "", title)
    if not re.fullmatch(r"[a-z][a-z0-9 '&-]{2,48}", title) or title.startswith(("hash", "untitled", "drawing")):
        return None
    items = (plain(item.text or "").lower().strip() for item in root.iterfind(f".//{DUBLIN_CORE}subject//{RDF}li"))
    return title, [item for item in items if re.fullmatch(r"[a-z][a-z0-9 '-]{1,24}", item)]
