"""Bytes with their digest before them: for objects whose key does not say what is in them."""

from touchstone_contracts.identity import sha256

from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import MissingObject, ObjectStore

log = get_logger(__name__)

DIGEST_LENGTH = 64


def sealed(data: bytes) -> bytes:
    return sha256(data).encode() + data


def read_sealed(objects: ObjectStore, key: str) -> bytes | None:
    """None where it is not there, or damaged. Raises Transient."""
    try:
        stored = objects.get(key)
    except MissingObject:
        return None
    digest, data = stored[:DIGEST_LENGTH], stored[DIGEST_LENGTH:]
    if sha256(data).encode() == digest:
        return data
    log.warning("sealed.damaged", key=key)
    return None
