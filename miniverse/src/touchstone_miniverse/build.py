"""Build the miniverse: fetch, render, caption, split, write parquet. The same packages give the same bytes."""

import argparse
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from PIL import Image

from touchstone_miniverse.captions import caption, captions, fixed_rank
from touchstone_miniverse.catalogue import UPSTREAM, write_catalogue
from touchstone_miniverse.emoji_names import EmojiIndex
from touchstone_miniverse.fetch import fetch, read_members
from touchstone_miniverse.icons import Drawing, drawings, members_wanted
from touchstone_miniverse.likeness import group_leaders, same_drawing
from touchstone_miniverse.noise import noisy_caption
from touchstone_miniverse.render import encode, render_svg
from touchstone_miniverse.sources import ALL_SOURCES, EMOJIBASE, Role, Source
from touchstone_miniverse.targets import Target, build_targets

log = structlog.get_logger()

UPSTREAM_SHARDS = 8
NOISY_UPSTREAM = f"{UPSTREAM}-noisy"
HELD_OUT = (Role.TRAIN, Role.VALIDATION, Role.TEST)
UPSTREAM_SCHEMA = pa.schema(
    [("key", pa.string()), ("image", pa.binary()), ("caption", pa.string()), ("source", pa.string()),
     ("licence", pa.string()), ("captions", pa.list_(pa.string())), ("group", pa.string())]
)  # fmt: skip
TARGET_SCHEMA = pa.schema(
    [("key", pa.string()), ("image", pa.binary()), ("class_id", pa.int32()), ("source", pa.string()),
     ("licence", pa.string())]
)  # fmt: skip
LABEL_SCHEMA = pa.schema([("key", pa.string()), ("target", pa.string()), ("class_id", pa.int32())])


@dataclass(frozen=True)
class Picture:
    """One rendered drawing with everything the tables need; `hexcode` is its emoji or empty."""

    key: str
    image: bytes
    caption: str
    captions: tuple[str, ...]
    source: Source
    hexcode: str


class DigestMismatch(Exception):
    """A rebuilt file differs from the recorded one: other renderer, codec or parquet versions."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: `build --packages DIR [--data DIR] [--record]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    home = Path(__file__).parents[2]
    parser.add_argument("--packages", type=Path, default=Path(".touchstone/miniverse/packages"))
    parser.add_argument("--home", type=Path, default=home, help="miniverse folder: data/ and catalogue.yaml")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--caption-noise", type=float, default=0.0, metavar="SHARE",
        help="spoil this share of the upstream captions as the web does; the upstream is then called miniverse-noisy",
    )  # fmt: skip
    parser.add_argument("--record", action="store_true", help="write data/DIGESTS instead of checking against it")
    options = parser.parse_args(arguments)
    if options.caption_noise and options.home == home:
        parser.error("a noisy upstream is written elsewhere: give --home")
    build(
        options.packages, options.home, options.processes,
        record=options.record or bool(options.caption_noise), caption_noise=options.caption_noise,
    )  # fmt: skip


def build(packages: Path, home: Path, processes: int, *, record: bool, caption_noise: float = 0.0) -> None:
    """Write all tables, the catalogue and the digests below `home`. Raises DigestMismatch unless `record`.

    `caption_noise` is the share of upstream captions replaced by what the web might say (noise.py).
    """
    index = EmojiIndex(read_members(EMOJIBASE, fetch(EMOJIBASE, packages), r"package/en/.*\.json$"))
    pictures = [picture for source in ALL_SOURCES for picture in render_source(source, packages, index, processes)]
    upstream, held_out = split(pictures)
    targets = build_targets(
        sorted(index.by_hexcode.values(), key=lambda name: name.hexcode),
        _count(upstream, Role.UPSTREAM),
        {role: _count(held_out, role) for role in HELD_OUT},
    )
    data = home / "data"
    write_upstream(upstream, data, caption_noise)
    write_labels(targets, upstream, data)
    for target in targets:
        for role in HELD_OUT:
            write_split(target, role, held_out, data)
    check_digests(data, record=record)
    write_catalogue(targets, home, NOISY_UPSTREAM if caption_noise else UPSTREAM)


def render_source(source: Source, packages: Path, index: EmojiIndex, processes: int) -> list[Picture]:
    """All pictures of one source, in the order of its drawings; undrawable and one-coloured ones are left out."""
    files = read_members(source.package, fetch(source.package, packages), members_wanted(source))
    found = list(drawings(source, files, index))
    with get_context("spawn").Pool(processes) as pool:
        images = pool.map(_render, [drawing.content for drawing in found], chunksize=32)
    pictures = [
        Picture(
            key=drawing.key,
            image=image,
            caption=caption(drawing, source),
            captions=tuple(captions(drawing, source)),
            source=source,
            hexcode=_hexcode(drawing),
        )
        for drawing, image in zip(found, images, strict=True)
        if image is not None
    ]
    log.info("source.rendered", source=source.name, drawings=len(found), pictures=len(pictures))
    return pictures


def split(pictures: Iterable[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Upstream (byte-identical pictures once, none equal to a held-out one, in fixed random order) and held out."""
    everything = list(pictures)
    held_out = [picture for picture in everything if picture.source.role is not Role.UPSTREAM]
    seen = {picture.image for picture in held_out}
    upstream = []
    for picture in everything:
        if picture.source.role is Role.UPSTREAM and picture.image not in seen:
            seen.add(picture.image)
            upstream.append(picture)
    return sorted(upstream, key=lambda picture: fixed_rank(picture.key)), without_shared_drawings(held_out)


def without_shared_drawings(held_out: Sequence[Picture]) -> list[Picture]:
    """Held-out pictures, each drawing in one split alone: test goes before validation, validation before train."""
    kept: dict[str, list[Picture]] = {}
    for role in reversed(HELD_OUT):
        for picture in (picture for picture in held_out if picture.source.role is role):
            of_the_same = kept.setdefault(picture.hexcode, [])
            others = [other.image for other in of_the_same if other.source.role is not role]
            if not same_drawing(picture.image, others):
                of_the_same.append(picture)
    left = {picture.key for pictures in kept.values() for picture in pictures}
    log.info("held_out.compared", kept=len(left), shared_drawings=len(held_out) - len(left))
    return [picture for picture in held_out if picture.key in left]


def groups(upstream: Sequence[Picture]) -> dict[str, str]:
    """For each key the key of the first picture of the same emoji that shows the same drawing (often its own)."""
    of_emoji: dict[str, list[Picture]] = {}
    for picture in upstream:
        of_emoji.setdefault(picture.hexcode or picture.key, []).append(picture)
    leaders: dict[str, str] = {}
    for pictures in of_emoji.values():
        positions = group_leaders([picture.image for picture in pictures])
        leaders |= {picture.key: pictures[head].key for picture, head in zip(pictures, positions, strict=True)}
    return leaders


def write_upstream(upstream: Sequence[Picture], data: Path, caption_noise: float = 0.0) -> None:
    """`upstream-0000.parquet` and so on, equal shares of the fixed random order."""
    leaders, everything = groups(upstream), [picture.caption for picture in upstream]
    for number in range(UPSTREAM_SHARDS):
        rows = upstream[number * len(upstream) // UPSTREAM_SHARDS : (number + 1) * len(upstream) // UPSTREAM_SHARDS]
        columns = _columns(rows) | {
            "caption": [noisy_caption(row.key, row.caption, everything, caption_noise) for row in rows],
            "captions": [row.captions for row in rows],
            "group": [leaders[row.key] for row in rows],
        }
        write_table(columns, UPSTREAM_SCHEMA, data / f"upstream-{number:04d}.parquet")


def write_labels(targets: Sequence[Target], upstream: Sequence[Picture], data: Path) -> None:
    """`labels/upstream.parquet`: of each upstream picture that depicts a class of a target, which one that is.

    Only the arms that are told the truth read it: it is what retrieval tries to find."""
    rows = [
        (target.name, classes[picture.hexcode], picture.key)
        for target in targets
        for classes in [class_of(target)]
        for picture in upstream
        if picture.hexcode in classes
    ]
    write_label_rows(rows, data)


def write_label_rows(rows: Iterable[tuple[str, int, str]], data: Path) -> None:
    """(target, class id, key) in any order."""
    targets, class_ids, keys = zip(*sorted(rows), strict=True)
    columns = {"target": list(targets), "class_id": list(class_ids), "key": list(keys)}
    write_table(columns, LABEL_SCHEMA, data / "labels" / "upstream.parquet")


def class_of(target: Target) -> dict[str, int]:
    """Class id by the hexcode of an emoji."""
    return {hexcode: entry.id for entry in target.classes for hexcode in entry.hexcodes}


def write_split(target: Target, role: Role, held_out: Sequence[Picture], data: Path) -> None:
    """One split of one target: every held-out picture of that role that depicts one of its classes."""
    classes = class_of(target)
    rows = [picture for picture in held_out if picture.source.role is role and picture.hexcode in classes]
    rows.sort(key=lambda picture: (classes[picture.hexcode], picture.key))
    columns = _columns(rows) | {"class_id": [classes[picture.hexcode] for picture in rows]}
    write_table(columns, TARGET_SCHEMA, data / "targets" / target.name / f"{role}.parquet")


def file_digests(data: Path) -> dict[str, str]:
    """sha256 of every parquet file below `data`, by relative path."""
    return {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(data.rglob("*.parquet"))
    }


def check_digests(data: Path, *, record: bool) -> None:
    """Compare the files with `DIGESTS`, or write it. Raises DigestMismatch naming the differing files."""
    listing = "".join(f"{digest}  {path}\n" for path, digest in file_digests(data).items())
    digests = data / "DIGESTS"
    if record:
        digests.write_text(listing)
        return
    different = set(listing.splitlines()) ^ set(digests.read_text().splitlines())
    if different:
        raise DigestMismatch(f"not the recorded bytes: {sorted({line.split()[1] for line in different})}")
    log.info("digests.agree", files=listing.count("\n"))


def _render(content: str | bytes) -> bytes | None:
    if isinstance(content, str):
        return render_svg(content)
    return encode(Image.open(io.BytesIO(content)))


def _hexcode(drawing: Drawing) -> str:
    return drawing.emoji.hexcode if drawing.emoji else ""


def _count(pictures: Iterable[Picture], role: Role) -> Counter[str]:
    return Counter(picture.hexcode for picture in pictures if picture.source.role is role)


def _columns(rows: Sequence[Picture]) -> dict[str, list]:
    return {
        "key": [picture.key for picture in rows],
        "image": [picture.image for picture in rows],
        "source": [picture.source.name for picture in rows],
        "licence": [picture.source.licence for picture in rows],
    }


def write_table(columns: dict[str, list], schema: pa.Schema, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pydict({name: columns[name] for name in schema.names}, schema=schema)
    # Pictures are compressed already: dictionary and statistics over them would only cost space.
    pq.write_table(table, path, compression="zstd", use_dictionary=["source", "licence"], write_statistics=False)
    log.info("table.written", file=path.name, rows=table.num_rows, bytes=path.stat().st_size)


if __name__ == "__main__":
    main()
