"""JSON merge patch (RFC 7396): how a clone says what differs."""

from typing import Any


def merge_patch(document: Any, patch: Any) -> Any:
    """Objects merge member by member, null removes a member, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), change)
    return merged
