"""One adapter per contract: load, call one function, store, report."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from touchstone_contracts.catalogue import ArrayFile, LinkTable, SourceFiles
from touchstone_contracts.curation import MemorisationReport
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.sources import AllowedSources, Host
from touchstone_contracts.steps import (
    AUDIT_POOL,
    COMPARE_SPLITS,
    CURATE_IMAGES,
    DESCRIBE_SOURCE,
    DOWNLOAD_IMAGES,
    EMBED_IMAGES,
    FIND_LABELLED,
    INDEX_UPSTREAM,
    INGEST_IMAGES,
    MIX_POOLS,
    NAME_CLASSES,
    RETRIEVE_IMAGES,
    SEARCH_UPSTREAM,
    TAKE_EMBEDDINGS,
    AuditPool,
    ClassesNamed,
    CompareSplits,
    CurateImages,
    DescribeSource,
    DownloadImages,
    EmbedImages,
    FindLabelled,
    ImagesCurated,
    ImagesDownloaded,
    ImagesEmbedded,
    ImagesFound,
    ImagesIngested,
    ImagesRetrieved,
    IndexUpstream,
    IngestImages,
    MixPools,
    NameClasses,
    PoolAudited,
    RetrieveImages,
    RowsCompared,
    SearchUpstream,
    SourceDescribed,
    SplitsCompared,
    TakeEmbeddings,
    UpstreamIndexed,
    UpstreamSearched,
)
from touchstone_contracts.values import Blob
from touchstone_encoders.embedding import class_vectors, embed_texts, require_finite
from touchstone_encoders.loading import with_text
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.class_names import with_names
from touchstone_runtime.done_items import DoneItems
from touchstone_runtime.image_sets import LOCATION_COLUMNS, read_images, save_image_set, with_all_columns
from touchstone_runtime.logs import get_logger
from touchstone_runtime.randomness import rng_for
from touchstone_runtime.serving import Handlers, Progress

from touchstone_retrieval.audit.measures import label_card
from touchstone_retrieval.audit.reading import read_audited
from touchstone_retrieval.class_names import Words, count_captions, most_frequent_names, names_of, words_of
from touchstone_retrieval.curation.candidates import Candidates
from touchstone_retrieval.curation.mixing import mixed_table
from touchstone_retrieval.curation.pipeline import count_stages, curate
from touchstone_retrieval.curation.report import curation_report, memorisation_report
from touchstone_retrieval.curation.split_likeness import LabelledVectors, compare_splits
from touchstone_retrieval.describe.described import described
from touchstone_retrieval.download.fetching import Fetcher, open_session
from touchstone_retrieval.download.obtaining import Link, links_of_class, ranked_reserve
from touchstone_retrieval.download.placeholders import placeholders_among
from touchstone_retrieval.download.recording import record_images
from touchstone_retrieval.download.remembering import RememberedFetches
from touchstone_retrieval.embedded_images import EmbeddedImages, joined_vectors, load_embedded, normalised
from touchstone_retrieval.embedding import embed_distinct_texts, embed_image_stream, first_of_each
from touchstone_retrieval.index.collections import collection_of
from touchstone_retrieval.index.protocol import Collection, VectorName
from touchstone_retrieval.ingest.comparing import GivenRows, compare_given
from touchstone_retrieval.ingest.given_embeddings import read_embeddings
from touchstone_retrieval.ingest.image_set import write_source
from touchstone_retrieval.ingest.link_table import belonging, open_table, read_links
from touchstone_retrieval.ingest.opening import SourceWithImages, opened
from touchstone_retrieval.ingest.sampled_images import SampledImage, sample_images
from touchstone_retrieval.ingest.tally import require_few_losses
from touchstone_retrieval.ingest.uid_lists import listed_among
from touchstone_retrieval.labelled import find_labelled, read_labels
from touchstone_retrieval.manifests import candidate_table, curated_table, labels, not_taken_down
from touchstone_retrieval.references import load_descriptors, load_references
from touchstone_retrieval.searching import (
    Find,
    Manifests,
    Match,
    find_words,
    first_distinct,
    non_empty,
    query_image_vector,
)
from touchstone_retrieval.strategies.findings import asked_table, found_table
from touchstone_retrieval.strategies.registry import find_images
from touchstone_retrieval.strategies.upstream import SearchableUpstream
from touchstone_retrieval.tools import Tools
from touchstone_retrieval.unusable_rows import named_rows, require_some_usable, zeroed

log = get_logger(__name__)
handlers = Handlers[Tools]("retrieval")


@handlers.serve(DESCRIBE_SOURCE)
def describe_source(request: DescribeSource, tools: Tools, progress: Progress) -> SourceDescribed:
    found = described(request, tools.location_reader, progress)
    log.info("source.described", form=request.form, shards=len(found.shards), splits=sorted(found.splits))
    return found


@handlers.serve(INGEST_IMAGES)
def ingest_images(request: IngestImages, tools: Tools, progress: Progress) -> ImagesIngested:
    if isinstance(request.source, LinkTable):
        return _ingest_links(request.source, tools, progress)
    with opened(
        request.source, tools.location_reader, request.classes, labels_as_found=request.labels_as_found
    ) as source:
        done = DoneItems(progress.savepoints, "rows")
        images, account = write_source(source, tools.artifacts, progress, done)
        log.info("images.ingested", source_kind=source.kind, seen=account.seen, rejected=account.counts)
    require_few_losses(account, request.most_losses, _where(request.source))
    return ImagesIngested(images=images, account=account)


def _where(source: SourceWithImages) -> str:
    """What a message calls it."""
    if not isinstance(source, SourceFiles):
        return source.location
    first, others = source.files[0].location, len(source.files) - 1
    return f"{first} and {others} more file{'s' * (others != 1)}" if others else first


def _ingest_links(links: LinkTable, tools: Tools, progress: Progress) -> ImagesIngested:
    with tools.location_reader.verified_file(links.location, links.digest) as path:
        listed = None
        if links.uids is not None:
            with tools.location_reader.verified_file(links.uids.location, links.uids.digest) as uids:
                listed = listed_among(open_table(path, links), uids, links.uids.location)
        table, account = read_links(path, links, progress, tools.artifacts.taken_down(), listed)
    log.info("links.ingested", seen=account.seen, rejected=account.counts)
    return ImagesIngested(images=save_image_set(tools.artifacts, table, ()), account=account)


@handlers.serve(EMBED_IMAGES, progress_counts="images")
def embed_images(request: EmbedImages, tools: Tools, progress: Progress) -> ImagesEmbedded:
    images, _ = tools.artifacts.image_set(request.images)
    encoder = tools.encoders.tower(request.encoder)
    table = tools.artifacts.get_table(images.manifest, (*LOCATION_COLUMNS, "caption"))
    # An image found for several classes has a row for each; it is embedded once.
    first_rows, inverse = first_of_each(table["id"].to_pylist())

    def images_after(done: int) -> Iterator[bytes]:
        return read_images(tools.artifacts, table.take(first_rows[done:]), images.shards)

    vectors = embed_image_stream(encoder, images_after, len(first_rows), progress, np.float16)
    vectors = zeroed(vectors if len(vectors) == table.num_rows else vectors[inverse])
    captions = None
    if request.captions:
        texts = table["caption"].to_pylist()
        captions = zeroed(embed_distinct_texts(with_text(encoder), texts, progress).astype(np.float16))
    require_some_usable(vectors, request.encoder.model)
    return _embedded(images, vectors, captions, tools.artifacts)


@handlers.serve(TAKE_EMBEDDINGS)
def take_embeddings(request: TakeEmbeddings, tools: Tools, progress: Progress) -> ImagesEmbedded:
    images, _ = tools.artifacts.image_set(request.images)
    encoder = tools.encoders.get(request.encoder)
    dimension = embed_texts(encoder, ["a"]).shape[1]

    def read(array: ArrayFile | None) -> np.ndarray | None:
        if array is None:
            return None
        with tools.location_reader.verified_file(array.location, array.digest) as path:
            vectors = read_embeddings(path, array.location, images.count, dimension, array.array)
        vectors[~belongs] = 0
        return vectors

    def download(links: Sequence[Link]) -> list[SampledImage]:
        allowed = (tools.library.allowed, *_of_project(request.hosts))
        return asyncio.run(sample_images(links, tools.private_addresses, *allowed))

    table = tools.artifacts.get_table(images.manifest)
    belongs = belonging(table)
    of_images, of_captions = request.table.image_embeddings, request.table.caption_embeddings
    given = GivenRows(
        images=read(of_images),
        images_location="" if of_images is None else of_images.location,
        captions=read(of_captions),
        captions_location="" if of_captions is None else of_captions.location,
    )
    compared = None
    if of_images is not None or of_captions is not None:
        compared = compare_given(given, table, encoder, download, tools.artifacts.taken_down())
    captions = given.captions
    if captions is None:
        texts = table["caption"].to_pylist()
        captions = zeroed(embed_distinct_texts(encoder, texts, progress).astype(np.float16))
        captions[~belongs] = 0
    log.info("embeddings.taken", rows=images.count, compared=[each.model_dump() for each in compared or ()])
    return _embedded(images, given.images, captions, tools.artifacts, compared, belongs)


def _embedded(
    images: ImageSet,
    vectors: np.ndarray | None,
    captions: np.ndarray | None,
    artifacts: Artifacts,
    compared: tuple[RowsCompared, ...] | None = None,
    among: np.ndarray | None = None,
) -> ImagesEmbedded:
    """Stores the arrays, of which there is one at least, and names the rows that cannot be used. `among`: see
    named_rows."""
    names = artifacts.get_table(images.manifest, ("source_key",))["source_key"].to_pylist()
    (width, *_) = (array.shape[1] for array in (vectors, captions) if array is not None)
    return ImagesEmbedded(
        count=images.count,
        dimension=width,
        image_embeddings=None if vectors is None else artifacts.put_array(vectors),
        caption_embeddings=None if captions is None else artifacts.put_array(captions),
        unusable=named_rows(names, vectors, captions, among),
        compared=compared,
    )


def _of_project(hosts: tuple[Host, ...] | None) -> tuple[AllowedSources, ...]:
    return () if hosts is None else (AllowedSources(hosts=hosts),)


@handlers.serve(INDEX_UPSTREAM)
def index_upstream(request: IndexUpstream, tools: Tools, progress: Progress) -> UpstreamIndexed:
    shards = [load_embedded(tools.artifacts, shard) for shard in request.shards]
    collection = _ensure_indexed(shards, tools, progress)
    return UpstreamIndexed(collection=collection.name, count=collection.count)


def _ensure_indexed(shards: Sequence[EmbeddedImages], tools: Tools, progress: Progress) -> Collection:
    """The index is a cache: the shards it does not have, or has lost, are written from what is stored."""
    collection = collection_of(shards)
    written = tools.index.ensure(collection, progress)
    log.info("upstream.indexed", collection=collection.name, rows=collection.count, written=written)
    return collection


@handlers.serve(NAME_CLASSES)
def name_classes(request: NameClasses, tools: Tools, progress: Progress) -> ClassesNamed:
    names = [name for label in request.classes for name in names_of(label)]
    counts: Counter[Words] = Counter()
    for done, step in enumerate(request.images, 1):
        images, _ = tools.artifacts.image_set(step)
        counts += count_captions(names, tools.artifacts.get_table(images.manifest, ("caption",))["caption"])
        progress(done, len(request.images))
    chosen = most_frequent_names(request.classes, counts)
    renamed = sum(name != label.display_name for name, label in zip(chosen, request.classes, strict=True))
    log.info("classes.named", classes=len(chosen), renamed=renamed)
    return ClassesNamed(
        names=tuple(chosen),
        captions=tuple({name: counts[words_of(name)] for name in names_of(label)} for label in request.classes),
    )


@handlers.serve(RETRIEVE_IMAGES)
def retrieve_images(request: RetrieveImages, tools: Tools, progress: Progress) -> ImagesRetrieved:
    request = with_names(request, tools.artifacts)
    shards = [load_embedded(tools.artifacts, shard) for shard in request.shards]
    # request.index only orders the steps: its collection may have been lost since, and is a function of the shards.
    collection = _ensure_indexed(shards, tools, progress)
    searched = pa.concat_tables([shard.table(("id", "caption", "drop_reason")) for shard in shards])
    belongs = belonging(searched)
    encoder = tools.encoders.get(request.encoder)
    upstream = SearchableUpstream(
        index=tools.index,
        collection=collection,
        image_ids=searched["id"].to_pylist(),
        embed_texts=lambda texts: require_finite(embed_texts(encoder, texts), texts),
        captions=searched["caption"],
        image_vectors=lambda rows: _image_vectors(shards, rows),
        members=None if belongs.all() else np.flatnonzero(belongs),
    )
    rng = rng_for(request.seed, "retrieve", request.strategy.kind)
    found, report = find_images(request.strategy, upstream, request.classes, request.templates, rng, progress)
    tools.index.rest()
    log.info("images.retrieved", requested=report.requested, found_again=report.found_again, kept=report.kept)
    return ImagesRetrieved(
        images=save_image_set(
            tools.artifacts,
            candidate_table((shard.table() for shard in shards), found),
            [blob for shard in shards for blob in shard.images.shards],
        ),
        requested=report.requested,
        rejected=report.rejected,
        searched=tools.artifacts.put_table(asked_table(report.asked)) if report.asked else None,
    )


@handlers.serve(SEARCH_UPSTREAM)
def search_upstream(request: SearchUpstream, tools: Tools, progress: Progress) -> UpstreamSearched:
    shards = non_empty(load_embedded(tools.artifacts, shard) for shard in request.shards)
    manifests = Manifests(shards, tools.manifests)
    find: Find = _search(request, shards, manifests, tools, progress) if shards else lambda _: []
    hits = first_distinct(find, manifests, request.limit)
    tools.index.rest()
    images = sum(shard.images.count for shard in shards)
    log.info("upstream.searched", search_in=request.search_in, rows=images, found=len(hits))
    return UpstreamSearched(hits=tuple(hits), images=images)


def _search(
    request: SearchUpstream,
    shards: Sequence[EmbeddedImages],
    manifests: Manifests,
    tools: Tools,
    progress: Progress,
) -> Find:
    if request.search_in == "words":
        return find_words(request.text or "", manifests.captions())
    collection = _ensure_indexed(shards, tools, progress)
    query = normalised(_query(request, manifests, tools))
    vector: VectorName = "image" if request.search_in == "images" else "text"
    return lambda limit: [Match(*hit) for hit in next(tools.index.search(collection, vector, query, limit))]


def _query(request: SearchUpstream, manifests: Manifests, tools: Tools) -> np.ndarray:
    """(1, dimension)."""
    if request.like is not None:
        return manifests.image_vector(request.like)
    if request.image is not None:
        return query_image_vector(tools.encoders.tower(request.encoder), request.image)
    texts = [request.text or ""]
    return require_finite(embed_texts(tools.encoders.get(request.encoder), texts), texts)


@handlers.serve(FIND_LABELLED)
def find_labelled_images(request: FindLabelled, tools: Tools, progress: Progress) -> ImagesFound:
    with tools.location_reader.verified_file(request.labels.location, request.labels.digest) as path:
        classes = read_labels(path, request.labels, request.target, request.classes)
    shards = [tools.artifacts.image_set(step)[0] for step in request.upstream]
    named = pa.concat_tables([tools.artifacts.get_table(shard.manifest, ("source_key", "id")) for shard in shards])
    found, report = find_labelled(classes, named["source_key"].to_pylist(), named["id"].to_pylist())
    manifests = (with_all_columns(tools.artifacts.get_table(shard.manifest)) for shard in shards)
    log.info("images.labelled", requested=report.requested, found_again=report.found_again, kept=report.kept)
    return ImagesFound(
        images=save_image_set(
            tools.artifacts,
            candidate_table(manifests, found_table(found)),
            [blob for shard in shards for blob in shard.shards],
        ),
        requested=report.requested,
        rejected={"found_again": report.found_again},
    )


def _image_vectors(shards: Sequence[EmbeddedImages], rows: np.ndarray) -> np.ndarray:
    """Embeddings of upstream rows, which must rise; one shard's array in memory at a time."""
    parts, first_row = [], 0
    for shard in shards:
        here = rows[(rows >= first_row) & (rows < first_row + shard.images.count)] - first_row
        if len(here):
            parts.append(shard.image_vectors()[here])
        first_row += shard.images.count
    return np.concatenate(parts)


@handlers.serve(DOWNLOAD_IMAGES)
def download_images(request: DownloadImages, tools: Tools, progress: Progress) -> ImagesDownloaded:
    wanted, found = (
        links_of_class(tools.artifacts.get_table(images.manifest), request.class_id)
        for images, _ in (tools.artifacts.image_set(step) for step in (request.wanted, request.reserve))
    )
    downloaded = asyncio.run(_download(wanted, ranked_reserve(found, wanted), request, tools, progress))
    log.info("images.downloaded", requested=downloaded.requested, obtained=downloaded.images.count)
    return downloaded


async def _download(
    wanted: Sequence[Link], reserve: Sequence[Link], request: DownloadImages, tools: Tools, progress: Progress
) -> ImagesDownloaded:
    async with open_session(tools.private_addresses, tools.library.allowed, *_of_project(request.hosts)) as session:
        fetch = RememberedFetches(Fetcher(session).fetch_all, progress.savepoints).fetch_all
        return await record_images(
            wanted, reserve, request.class_id, fetch, tools.artifacts, progress, request.placeholder_links
        )


@handlers.serve(CURATE_IMAGES)
def curate_images(request: CurateImages, tools: Tools, progress: Progress) -> ImagesCurated:
    parts = [load_embedded(tools.artifacts, part) for part in request.candidates]
    vectors = class_vectors(
        tools.encoders.get(request.encoder), request.classes, request.templates, normalize_each=False
    )
    references = load_references(tools.artifacts, request)
    table = pa.concat_tables([part.table() for part in parts])
    candidates = Candidates(
        images=joined_vectors(parts, vectors.shape[1]),
        class_ids=labels(table, len(request.classes)),
        image_ids=table["id"].to_pylist(),
        descriptors=load_descriptors(tools.artifacts, request, references.dimension),
        placeholders=_placeholders(tools.artifacts, request),
    )
    there = not_taken_down(table)
    there = there[candidates.comparable[there]]
    table, candidates = table.take(there), candidates.take(there)
    curated = curate(candidates, vectors, references.for_curation(), request.rules, request.classes, progress)
    memorisation = None
    if curated.nearest_upstream is not None:
        memorisation = memorisation_report(curated.nearest_upstream.cosine, request.rules.memorisation_cosine)
    return _curated_pool(
        tools.artifacts,
        curated_table(table, curated, references.ids()),
        [blob for part in parts for blob in part.images.shards],
        classes=len(request.classes),
        requested=sum(part.requested for part in parts),
        memorisation=memorisation,
    )


def _placeholders(artifacts: Artifacts, request: CurateImages) -> set[str]:
    if request.placeholder_links is None:
        return set()
    downloads = [artifacts.result(DOWNLOAD_IMAGES, part.images) for part in request.candidates]
    links = pa.concat_tables([artifacts.get_table(each.links) for each in downloads])
    return placeholders_among(links, request.placeholder_links)


@handlers.serve(MIX_POOLS)
def mix_pools(request: MixPools, tools: Tools, progress: Progress) -> ImagesCurated:
    pools = [tools.artifacts.result(CURATE_IMAGES, pool) for pool in request.pools]
    return _curated_pool(
        tools.artifacts,
        mixed_table([with_all_columns(tools.artifacts.get_table(pool.images.manifest)) for pool in pools]),
        [blob for pool in pools for blob in pool.images.shards],
        classes=len(pools[0].kept_by_class),
        requested=sum(pool.counts.requested for pool in pools),
    )


@handlers.serve(COMPARE_SPLITS)
def compare_target_splits(request: CompareSplits, tools: Tools, progress: Progress) -> SplitsCompared:
    splits = {name: _labelled_vectors(load_embedded(tools.artifacts, split)) for name, split in request.splits.items()}
    compared = compare_splits(splits, request.cosine, progress)
    log.info("splits.compared", alike=len(compared.alike), in_two_classes=len(compared.in_two_classes))
    return compared.model_copy(update={"left_out": request.left_out})


def _labelled_vectors(split: EmbeddedImages) -> LabelledVectors:
    """Without images that were taken down."""
    table = split.table()
    there = not_taken_down(table)
    table, vectors = table.take(there), split.image_vectors()[there]
    return LabelledVectors(vectors, table["class_id"].to_numpy(), table["id"].to_pylist())


@handlers.serve(AUDIT_POOL)
def audit_pool(request: AuditPool, tools: Tools, progress: Progress) -> PoolAudited:
    card = label_card(read_audited(request, tools.artifacts, tools.encoders))
    log.info("pool.audited", images=card.images, agreement=card.agreement and card.agreement.share)
    return PoolAudited(card=card)


def _curated_pool(
    artifacts: Artifacts,
    table: pa.Table,
    shards: Sequence[Blob],
    *,
    classes: int,
    requested: int,
    memorisation: MemorisationReport | None = None,
) -> ImagesCurated:
    """Stores the manifest and counts what it says."""
    class_ids, reasons = labels(table, classes), np.array(table["drop_reason"].to_pylist(), dtype=object)
    counts = count_stages(reasons, class_ids, classes, requested)
    report = curation_report(table["score"].to_numpy(), reasons, class_ids, classes, memorisation)
    log.info("images.curated", **counts.model_dump(exclude={"classes_without_images"}))
    return ImagesCurated(
        images=save_image_set(artifacts, table, shards),
        counts=counts,
        kept_by_class=report.kept_by_class,
        report=report,
    )
