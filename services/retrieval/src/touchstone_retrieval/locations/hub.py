"""Files of data sets on a hub (`hf://`), at one commit."""

import re

from fsspec.spec import AbstractFileSystem
from touchstone_contracts.sources import AllowedSources, hub_dataset

from touchstone_retrieval.locations.fsspec_files import FsspecFiles, told

_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubFiles(FsspecFiles):
    def __init__(self, allowed: AllowedSources, most_bytes: int, endpoint: str | None = None) -> None:
        """`endpoint`: of the hub. None: as the variable HF_ENDPOINT says, or Hugging Face's."""
        super().__init__(lambda: _connect(endpoint), allowed, most_bytes)
        self._endpoint = endpoint

    def below(self, location: str) -> list[str]:
        """The locations name the commit that the revision stands for now."""
        self._allowed.require(location)
        return super().below(self._pinned(location))

    def _pinned(self, location: str) -> str:
        """The same at one commit."""
        from huggingface_hub import HfApi

        named = hub_dataset(location)
        if _COMMIT.fullmatch(named.revision):
            return location
        with told(location):
            commit = HfApi(self._endpoint).dataset_info(named.repository, revision=named.revision or None).sha
        return f"hf://datasets/{named.repository}@{commit}" + (f"/{named.path}" if named.path else "")


def _connect(endpoint: str | None) -> AbstractFileSystem:
    from huggingface_hub import HfFileSystem  # imported only by workers that read hf:// locations

    return HfFileSystem(endpoint=endpoint, skip_instance_cache=True)
