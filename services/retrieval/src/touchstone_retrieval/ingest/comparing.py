"""Compares a sample of given embeddings with what the encoder computes, before they are taken over."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from touchstone_contracts.identity import identity
from touchstone_contracts.steps import RowsCompared
from touchstone_contracts.takedowns import TakenDown
from touchstone_encoders.embedding import embed_images, embed_texts
from touchstone_encoders.loading import LoadedEncoder
from touchstone_runtime.randomness import rng_for

from touchstone_retrieval.download.obtaining import Link
from touchstone_retrieval.ingest.row_agreement import (
    FEWEST_CAPTIONS,
    FEWEST_ROWS,
    require_agreement,
    require_captions_fit,
    sampled_captions,
)
from touchstone_retrieval.ingest.sampled_images import LINKS, SampledImage
from touchstone_retrieval.unusable_rows import require_some_usable, usable_rows

CAPTIONS = 256


@dataclass(frozen=True)
class GivenRows:
    """fp16 (rows, d) arrays, L2-normalised or zero, and the locations of their files."""

    images: np.ndarray | None
    images_location: str
    captions: np.ndarray | None = None
    captions_location: str = ""


def compare_given(
    given: GivenRows,
    table: pa.Table,
    encoder: LoadedEncoder,
    download: Callable[[Sequence[Link]], Sequence[SampledImage]],
    taken_down: TakenDown,
) -> tuple[RowsCompared, ...]:
    """`table`: the manifest of the links; `download`: gives the images of some of them. Some rows are given.

    Rows of images are compared with downloaded images or, where fewer than FEWEST_ROWS can be had, with the captions;
    rows of captions with the captions. The same arrays and links are sampled alike. Raises UnusableEmbeddings."""
    seed = identity([given.images_location or given.captions_location, table.num_rows])
    texts = table["caption"].to_pylist()
    compared = list(_of_captions(given, texts, encoder, rng_for(seed, "captions")))
    if given.images is None:
        return tuple(compared)
    rows, links = _sampled_links(table, usable_rows(given.images), taken_down, rng_for(seed, "links"))
    found = download(links)
    if len(found) >= FEWEST_ROWS:
        sample = rows[[sampled.position for sampled in found]]
        sample, computed = _usable(sample, embed_images(encoder, [sampled.image for sampled in found]))
        compared.append(require_agreement(sample, computed, given.images, "images", given.images_location))
    else:
        compared += _of_images_by_captions(given.images, given.images_location, texts, encoder, rng_for(seed, "images"))
    return tuple(compared)


def _sampled_links(
    table: pa.Table, usable: np.ndarray, taken_down: TakenDown, rng: np.random.Generator
) -> tuple[np.ndarray, list[Link]]:
    """Rows, and their links."""
    kept = usable & table["kept"].to_numpy(zero_copy_only=False)
    rows = rng.permutation(np.flatnonzero(kept))[: 2 * LINKS]
    columns = (table.take(rows)[name].to_pylist() for name in ("source_key", "id", "caption"))
    links = [Link(url, image, caption, "", 0.0, "") for url, image, caption in zip(*columns, strict=True)]
    there = [index for index, link in enumerate(links) if link.url and not taken_down.covers(link.id, link.url)][:LINKS]
    return rows[there], [links[index] for index in there]


def _of_captions(
    given: GivenRows, texts: Sequence[str], encoder: LoadedEncoder, rng: np.random.Generator
) -> Iterator[RowsCompared]:
    if given.captions is None:
        return
    rows = sampled_captions(texts, usable_rows(given.captions), CAPTIONS, rng)
    if len(rows) >= FEWEST_ROWS:
        rows, computed = _usable(rows, embed_texts(encoder, [texts[row] for row in rows.tolist()]))
        yield require_agreement(rows, computed, given.captions, "captions", given.captions_location)


def _of_images_by_captions(
    images: np.ndarray, location: str, texts: Sequence[str], encoder: LoadedEncoder, rng: np.random.Generator
) -> Iterator[RowsCompared]:
    rows = sampled_captions(texts, usable_rows(images), CAPTIONS, rng)
    if len(rows) >= FEWEST_CAPTIONS:
        rows, computed = _usable(rows, embed_texts(encoder, [texts[row] for row in rows.tolist()]))
        yield require_captions_fit(rows, computed, images, rng, location)


def _usable(rows: np.ndarray, computed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without those that the encoder itself gives no usable embedding. Raises Invalid where none is left."""
    require_some_usable(computed, "the index encoder")
    usable = usable_rows(computed)
    return rows[usable], computed[usable]
