"""Whether everything that a document wants read may be read: asked before anything is stored of it."""

from collections.abc import Iterator, Sequence

from pydantic import BaseModel
from touchstone_contracts.catalogue import LinkTable
from touchstone_contracts.problems import FieldError, Invalid
from touchstone_contracts.sources import AllowedSources, SourceNotAllowed, hub_model, locations_in

MOST_NAMED = 20
"""Of what is refused: an upstream may have thousands of shards."""


def require_allowed(policies: Sequence[AllowedSources], entry: BaseModel) -> None:
    """`entry`: of the catalogue, or an experiment's spec. `policies`: each must permit every location, and an error
    says what the first one that does not would permit.

    Raises SourceNotAllowed with what is not permitted, else Invalid (code `hub_not_pinned`) with models of a hub that
    name no commit; both with JSON pointers."""
    refused = list(_refused(policies, entry))
    if not refused:
        return
    worst = next((problem for _, problem in refused if isinstance(problem, SourceNotAllowed)), refused[0][1])
    errors = tuple(
        FieldError(pointer=pointer, detail=problem.detail)
        for pointer, problem in refused
        if isinstance(problem, type(worst))
    )
    raise type(worst)(and_more(worst.detail, len(errors)), code=worst.code, errors=errors[:MOST_NAMED])


def and_more(first: str, count: int) -> str:
    """The first of `count` errors, with the number of the others."""
    return f"{first} (and {count - 1} more)" if count > 1 else first


def _refused(policies: Sequence[AllowedSources], entry: BaseModel) -> Iterator[tuple[str, Invalid]]:
    for pointer, location, holder in locations_in(entry):
        try:
            for policy in policies:
                _require_location(policy, location, links=isinstance(holder, LinkTable))
            if location.startswith("hub:"):
                hub_model(location)
        except Invalid as problem:
            yield pointer, problem


def _require_location(policy: AllowedSources, location: str, *, links: bool) -> None:
    policy.require(location)
    if links:
        policy.require_hosts(location)
