"""Whether everything that a document wants read may be read: asked before anything is stored of it."""

from collections.abc import Iterator

from pydantic import BaseModel
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.problems import FieldError, Invalid
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed, hub_model, places_in

MOST_NAMED = 20
"""Of what is refused: an upstream may have thousands of shards."""


def require_allowed(policy: AllowedSources, entry: BaseModel) -> None:
    """`entry`: of the catalogue, or an experiment's spec. Raises SourceNotAllowed with what the policy does not permit,
    else Invalid (code `hub_not_pinned`) with models of a hub that name no commit; both with JSON pointers."""
    refused = list(_refused(policy, entry))
    if not refused:
        return
    worst = next((problem for _, problem in refused if isinstance(problem, SourceNotAllowed)), refused[0][1])
    errors = tuple(
        FieldError(pointer=pointer, detail=problem.detail)
        for pointer, problem in refused
        if isinstance(problem, type(worst))
    )
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise type(worst)(f"{worst.detail}{more}", code=worst.code, errors=errors[:MOST_NAMED])


def _refused(policy: AllowedSources, entry: BaseModel) -> Iterator[tuple[str, Invalid]]:
    for pointer, place, holder in places_in(entry):
        try:
            policy.require(place)
            if place.startswith("hub:"):
                hub_model(place)
            if isinstance(holder, LinkTable):
                policy.require_hosts(place)
        except Invalid as problem:
            yield pointer, problem
