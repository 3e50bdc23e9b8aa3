"""From a model's reference to the folder that holds its files: the library or the hub's local cache."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from touchstone_contracts.catalogue import PinnedModel
from touchstone_contracts.problems import Invalid, Transient
from touchstone_contracts.steps import ModelRef
from touchstone_contracts.values import Digest
from touchstone_runtime.digests import folder_digest, require_digest
from touchstone_runtime.library import Library

Download = Callable[[str, str | None], str]
"""(repository, revision) -> folder in the hub's local cache, completed when something is missing."""


class Place(NamedTuple):
    folder: Path
    digest: Digest
    """Of the files that are there, also where none was registered."""


def find_model(ref: ModelRef | PinnedModel, library: Library, download: Download) -> Place:
    """`library:models/x` or `hub:owner/repository@revision`. Raises Invalid when the place is missing or its digest is
    not the registered one, Transient when the hub cannot be reached."""
    if ref.model.startswith("library:"):
        if ref.digest is None:
            raise Invalid(f"{ref.model} has no digest", code="digest_missing")
        return Place(library.verified_folder(ref.model, ref.digest), ref.digest)
    folder = _downloaded(ref.model, download)
    found = folder_digest(folder)
    if ref.digest is not None:
        require_digest(ref.model, ref.digest, found)
    return Place(folder, found)


def _downloaded(place: str, download: Download) -> Path:
    repository, _, revision = place.removeprefix("hub:").partition("@")
    try:
        return Path(download(repository, revision or None))
    except OSError as error:
        # diffusers looks into its cache first and keeps the hub's answer as the cause; transformers' hub raises it.
        if any(
            isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in (error, error.__cause__)
        ):
            raise Invalid(f"the hub has no {place.removeprefix('hub:')}", code="hub_model_missing") from error
        raise Transient(f"cannot get {place}: {error}", code="hub") from error
