"""Every kind of location that a retrieval worker reads, beside its library and S3."""

from collections.abc import Mapping

from touchstone_runtime.remote_files import RemoteFiles
from touchstone_runtime.uploads import Uploads

from touchstone_retrieval.locations.buckets import connect_google
from touchstone_retrieval.locations.fsspec_files import FsspecFiles
from touchstone_retrieval.locations.hub import HubFiles
from touchstone_retrieval.locations.uploaded import UploadedFiles
from touchstone_retrieval.locations.web import WebFiles
from touchstone_retrieval.settings import RetrievalSettings


def connect_locations(settings: RetrievalSettings, uploads: Uploads | None = None) -> Mapping[str, RemoteFiles]:
    """By scheme. Connects to nothing yet. `uploads`: None where the object store is not read."""
    allowed, most = settings.allowed_sources, settings.fetched_bytes
    web = WebFiles(allowed, most, private_addresses=settings.download_private_addresses)
    found: dict[str, RemoteFiles] = {
        "https": web,
        "http": web,
        "hf": HubFiles(allowed, most),
        "gs": FsspecFiles(connect_google, allowed, most),
    }
    return found if uploads is None else found | {"upload": UploadedFiles(uploads, most)}
