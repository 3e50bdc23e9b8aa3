"""Settings of the retrieval worker."""

from pathlib import Path

from pydantic import Field, SecretStr
from touchstone_runtime.settings import WorkerSettings


class RetrievalSettings(WorkerSettings):
    qdrant_url: str = ""
    """A Qdrant server; empty means the engine embedded in this process."""
    qdrant_api_key: SecretStr = SecretStr("")
    qdrant_timeout: int = Field(default=60, gt=0)
    """Seconds before a call to the server counts as failed."""
    index_memory_bytes: int = Field(default=2 * 1024**3, ge=0)
    """Batches of queries are answered from memory while an upstream's vectors fit into this; beyond it by Qdrant."""
    index_folder: Path = Path(".touchstone/index")
    """Where the embedded engine keeps its collections. One process owns it; it is a cache and may be deleted."""
    download_private_addresses: bool = False
    """Whether links of an upstream and https:// locations may lead into private networks. Anyone may write one, so not
    by default. Locations may then be http://, too."""
    fetched_bytes: int = Field(default=64 * 2**30, gt=0)
    """Of one file that is fetched from a location, or of all files that an uploaded archive unpacks to."""
