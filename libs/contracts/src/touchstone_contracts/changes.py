"""How a clone or a variant of a study says what differs."""

from typing import Any


def apply_changes(document: Any, changes: Any) -> Any:
    """Objects merge member by member, anything else replaces, null too; an object whose `kind` changes begins anew.

    Not RFC 7396, where null removes a member: removed, `leak_cosine` would be its default again and not off.
    """
    if not isinstance(changes, dict):
        return changes
    kept = document if isinstance(document, dict) and _one_kind(document, changes) else {}
    return {**kept, **{name: apply_changes(kept.get(name), change) for name, change in changes.items()}}


def _one_kind(document: dict[str, Any], changes: dict[str, Any]) -> bool:
    return "kind" not in changes or changes["kind"] == document.get("kind")
