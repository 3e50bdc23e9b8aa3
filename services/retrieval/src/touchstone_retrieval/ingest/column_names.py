"""Which columns of a table hold what: those that the registration names, else those that published tables use."""

from collections.abc import Mapping, Sequence

from touchstone_contracts.catalogue import ImageColumns, LinkColumns

from touchstone_retrieval.ingest.captions import CAPTION_NAMES
from touchstone_retrieval.ingest.source import UnreadableSource

OF_IMAGES: Mapping[str, Sequence[str]] = {
    "key": ("key", "__key__", "uid"),
    "image": ("image", "img", "image_bytes", "jpg", "jpeg", "png", "webp"),
    "caption": CAPTION_NAMES,
    "label": ("class_id", "label", "fine_label", "cls"),
}
"""Of Hugging Face's data sets, img2dataset's parquet files and WebDataset's converted ones, the preferred one first."""
OF_LINKS: Mapping[str, Sequence[str]] = {
    "url": ("url", "image_url"),
    "caption": CAPTION_NAMES,
    "sha256": ("sha256",),
    "unsafe": ("punsafe", "nsfw"),
    "width": ("width", "original_width"),
    "height": ("height", "original_height"),
    "uid": ("uid",),
}
"""Of LAION, DataComp, CC12M and COYO, in any case of letters."""
SEVERAL = frozenset({"caption", "unsafe"})
"""What several columns may tell together. Of anything else the first column found counts."""
MOST_SHOWN = 20

Columns = Mapping[str, Sequence[str]]
"""What is sought -> the columns that hold it, the preferred one first; none where there is none."""


def find_columns(
    names: Sequence[str], said: ImageColumns | LinkColumns, usual: Mapping[str, Sequence[str]], location: str
) -> Columns:
    """`names`: of the table's columns. Raises UnreadableSource when a column that the registration names is missing."""
    found = dict[str, Sequence[str]]()
    for sought, candidates in usual.items():
        if named := getattr(said, sought):
            found[sought] = (require_column(names, named, location),)
        else:
            columns = tuple(dict.fromkeys(name for each in candidates for name in _called(names, each)))
            found[sought] = columns if sought in SEVERAL else columns[:1]
    return found


def _called(names: Sequence[str], sought: str) -> list[str]:
    """As it is written, else in another case of letters."""
    return [sought] if sought in names else [name for name in names if name.lower() == sought]


def require_column(names: Sequence[str], column: str, location: str) -> str:
    if column not in names:
        raise UnreadableSource(f"{location} has no column {column!r}, only {shown(names)}", code="missing_columns")
    return column


def require_found(columns: Columns, sought: Sequence[str], names: Sequence[str], location: str) -> None:
    """Raises UnreadableSource, naming the usual columns, when something that is needed is in none."""
    usual = OF_LINKS if "url" in columns else OF_IMAGES
    if missing := [each for each in sought if not columns[each]]:
        known = "; ".join(f"{each} ({', '.join(usual[each])})" for each in missing)
        detail = f"{location} needs a column for {known}, and has only {shown(names)}: name yours in `columns`"
        raise UnreadableSource(detail, code="missing_columns")


def shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more
