"""From a model's reference to the folder that holds its files: in the library, or in the local cache of a hub.

Weights are safetensors alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from touchstone_contracts.catalogue import PinnedModel
from touchstone_contracts.problems import Invalid, Transient
from touchstone_contracts.sources import hub_model
from touchstone_contracts.steps import ModelRef
from touchstone_contracts.values import Digest

from touchstone_runtime.digests import folder_digest, require_digest
from touchstone_runtime.library import Library

Download = Callable[[str, str], str]
"""(repository, commit) -> folder in the hub's local cache, completed when something is missing."""

PICKLES = frozenset({".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"})
"""Endings of files that run what they hold when they are read."""


class PickledWeights(Invalid):
    code = "pickled_weights"
    title = "Pickled weights"


class FoundModel(NamedTuple):
    folder: Path
    digest: Digest
    """Of the files that are there, also where none was registered."""


def find_model(ref: ModelRef | PinnedModel, library: Library, download: Download) -> FoundModel:
    """`library:models/x` or `hub:owner/repository@commit`.

    Raises SourceNotAllowed before anything is read or fetched; Invalid when the location is missing, its digest is not
    the registered one, the revision is no commit or there are pickles; Transient when the hub cannot be reached."""
    library.allowed.require(ref.model)
    if ref.model.startswith("library:"):
        if ref.digest is None:
            raise Invalid(f"{ref.model} has no digest", code="digest_missing")
        found = FoundModel(library.verified_folder(ref.model, ref.digest), ref.digest)
    else:
        found = _found_on_hub(ref, download)
    require_no_pickles(ref.model, found.folder)
    return found


def require_no_pickles(location: str, folder: Path) -> None:
    """Raises PickledWeights. Also where there are safetensors beside them: libraries differ in which they prefer."""
    pickles = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in PICKLES)
    if pickles:
        raise PickledWeights(
            f"{location} holds {pickles[0]}, which may run a program when it is read: keep weights as safetensors "
            "alone, remove it, and register the folder's new digest"
        )


def snapshot(patterns: Sequence[str]) -> Download:
    """Fetches the files of a repository whose names match one of `patterns`."""

    def download(repository: str, commit: str) -> str:
        from huggingface_hub import snapshot_download  # of workers that load models

        return snapshot_download(repository, revision=commit, allow_patterns=list(patterns))

    return download


def _found_on_hub(ref: ModelRef | PinnedModel, download: Download) -> FoundModel:
    folder = _downloaded(ref.model, download)
    # In the cache, files are links to blobs of the same repository, two folders up.
    found = folder_digest(folder, within=folder.parent.parent)
    if ref.digest is not None:
        require_digest(ref.model, ref.digest, found)
    return FoundModel(folder, found)


def _downloaded(location: str, download: Download) -> Path:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    repository, commit = hub_model(location)
    try:
        return Path(download(repository, commit))
    except OSError as error:
        # diffusers looks into its cache first and keeps the hub's answer as the cause; transformers' hub raises it.
        if any(
            isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in (error, error.__cause__)
        ):
            raise Invalid(f"the hub has no {location.removeprefix('hub:')}", code="hub_model_missing") from error
        raise Transient(f"cannot get {location}: {error}", code="hub") from error
