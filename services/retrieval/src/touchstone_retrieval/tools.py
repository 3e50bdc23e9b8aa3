"""What the handlers work with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from touchstone_encoders.loading import EncoderCache, pick_device
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import CacheUse
from touchstone_runtime.library import Library
from touchstone_runtime.objects import connect_objects
from touchstone_runtime.remote_files import RemoteFiles
from touchstone_runtime.s3_files import S3Files, connect_files

from touchstone_retrieval.index.matrix import MatrixIndex
from touchstone_retrieval.index.protocol import VectorIndex
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.index.qdrant_server import connect_server
from touchstone_retrieval.ingest.location_reader import LocationReader
from touchstone_retrieval.locations.connecting import connect_locations
from touchstone_retrieval.searching import ManifestCache, manifest_cache
from touchstone_retrieval.settings import RetrievalSettings


@dataclass(frozen=True)
class Tools:
    artifacts: Artifacts
    library: Library
    encoders: EncoderCache
    index: VectorIndex
    files: S3Files | None = None
    """Files of `s3://` locations; None where no server is set."""
    locations: Mapping[str, RemoteFiles] = field(default_factory=dict)
    """Files of other locations, by scheme."""
    private_addresses: bool = False
    """Whether links may lead into private networks."""
    manifests: ManifestCache = field(default_factory=manifest_cache)
    """Of shards that were searched for somebody who waits."""
    caches: Mapping[str, CacheUse] = field(default_factory=dict)
    """By the name that metrics give them."""

    @property
    def location_reader(self) -> LocationReader:
        return LocationReader(self.library, self.files, self.locations)


def build_tools(settings: RetrievalSettings) -> Tools:
    library, index = Library(settings.library, settings.allowed_sources), connect_index(settings)
    encoders = EncoderCache(library, pick_device(settings.device), settings.models_bytes)
    artifacts, manifests = Artifacts(connect_objects(settings)), manifest_cache()
    return Tools(
        artifacts=artifacts,
        library=library,
        encoders=encoders,
        index=index,
        files=connect_files(settings),
        locations=connect_locations(settings, artifacts.uploads),
        private_addresses=settings.download_private_addresses,
        manifests=manifests,
        caches={"encoder": encoders.use, "index": index.use, "manifest": manifests.use},
    )


def connect_index(settings: RetrievalSettings) -> MatrixIndex:
    """Neither connects nor locks yet."""
    return MatrixIndex(_connect_qdrant(settings), settings.index_memory_bytes)


def _connect_qdrant(settings: RetrievalSettings) -> VectorIndex:
    if settings.qdrant_url:
        key = settings.qdrant_api_key.get_secret_value()
        return connect_server(settings.qdrant_url, key, settings.qdrant_timeout, settings.ca_file)
    return QdrantEdgeIndex(settings.index_folder)
