"""Object store keys, built here only, from digests: never from names."""

from touchstone_contracts.values import Digest, StepId

BLOBS, STEPS, SAVEPOINTS, DERIVED, TAKEDOWNS = "blobs/", "steps/", "savepoints/", "derived/", "takedowns/"
UPLOADS = "uploads/"
"""What keys begin with."""


def blob_key(digest: Digest) -> str:
    return f"{BLOBS}{digest[:2]}/{digest}"


def manifest_key(step: StepId) -> str:
    return f"{STEPS}{step[:2]}/{step}.json"


def takedown_key(takedown: Digest) -> str:
    return f"{TAKEDOWNS}{takedown}.json"


def savepoint_key(step: StepId, part: str) -> str:
    """With an empty part: what the keys of all parts begin with."""
    return f"{SAVEPOINTS}{step[:2]}/{step}/{part}"


def derived_key(name: Digest, part: int) -> str:
    """Of a part of what follows from stored objects and is kept because others will ask for it."""
    return f"{DERIVED}{name[:2]}/{name}/{part}"


def upload_document_key(upload: str) -> str:
    """What is known of an uploaded archive; written after all its parts."""
    return f"{UPLOADS}{upload.replace('.', '/')}/upload.json"


def upload_part_key(upload: str, part: int) -> str:
    return f"{UPLOADS}{upload.replace('.', '/')}/{part:06d}"
