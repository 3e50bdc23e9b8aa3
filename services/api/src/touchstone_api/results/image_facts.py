"""What a row of an image set's manifest says of an image, as the API answers it."""

from collections.abc import Mapping, Sequence
from typing import Any

from touchstone_contracts.catalogue import Generator
from touchstone_planning.resolved import ResolvedExperiment

from touchstone_api.results.images import ArmAddresses, known_count, known_number, part_of

_AS_THEY_ARE = (
    "id", "class_id", "caption", "width", "height", "source_kind", "source_key", "found_by", "query", "model_digest",
    "tuning_digest", "scheduler", "parent", "nearest_test_id", "nearest_upstream_id",
)  # fmt: skip
_NUMBERS = ("similarity", "guidance_scale", "gamma", "score", "nearest_test_cosine", "nearest_upstream_cosine")
"""NaN where there is none."""


def image_facts(
    row: Mapping[str, Any], resolved: ResolvedExperiment, parts: Sequence[str], addresses: ArmAddresses
) -> dict[str, Any]:
    """The fields of a TrainingImage, of a row of a manifest. `parts`: the arms of a mixture."""
    return {
        **{name: row[name] for name in _AS_THEY_ARE},
        **{name: known_number(row[name]) for name in _NUMBERS},
        "class_name": resolved.classes_of(addresses.target)[row["class_id"]].display_name,
        "url": addresses.bytes_of(row["id"]),
        "part": part_of(row, parts),
        "generator": _generator(row["model_digest"], resolved.generators),
        "seed": known_count(row["seed"]),
        "steps": known_count(row["steps"]),
    }


def _generator(digest: str, generators: Sequence[Generator]) -> str | None:
    """By its digest, which not every one is registered with; the only one needs none."""
    if not digest:
        return None
    named = next((each.name for each in generators if each.digest == digest), None)
    unpinned = [each.name for each in generators if not each.digest]
    return named or (unpinned[0] if len(unpinned) == 1 else None)
