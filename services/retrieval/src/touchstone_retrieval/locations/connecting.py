"""Every kind of location that a retrieval worker reads, beside its library and S3."""

from collections.abc import Mapping

from touchstone_runtime.remote_files import RemoteFiles

from touchstone_retrieval.locations.buckets import connect_google
from touchstone_retrieval.locations.fsspec_files import FsspecFiles
from touchstone_retrieval.locations.hub import HubFiles
from touchstone_retrieval.locations.web import WebFiles
from touchstone_retrieval.settings import RetrievalSettings


def connect_locations(settings: RetrievalSettings) -> Mapping[str, RemoteFiles]:
    """By scheme. Connects to nothing yet."""
    allowed, most = settings.allowed_sources, settings.fetched_bytes
    web = WebFiles(allowed, most, private_addresses=settings.download_private_addresses)
    return {"https": web, "http": web, "hf": HubFiles(allowed, most), "gs": FsspecFiles(connect_google, allowed, most)}
