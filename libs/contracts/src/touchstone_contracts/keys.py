"""Object store keys, built here only, from digests: never from names."""

from touchstone_contracts.values import Digest, StepId


def blob_key(digest: Digest) -> str:
    return f"blobs/{digest[:2]}/{digest}"


def manifest_key(step: StepId) -> str:
    return f"steps/{step[:2]}/{step}.json"
