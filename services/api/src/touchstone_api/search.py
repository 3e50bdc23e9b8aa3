"""What a list of experiments is asked for: the same in the API and on the page."""

from typing import Annotated, get_args

from fastapi import Depends, Query
from pydantic import BeforeValidator, Field
from touchstone_contracts.values import Name, Tag
from touchstone_contracts.views import Phase
from touchstone_store.listing import Facet, Sort, Wanted

Words = Annotated[
    str,
    Field(max_length=200),
    Query(description="Each of these words must be in the name, in a tag, or at the beginning of the id"),
]
BLANK_IS_NONE = BeforeValidator(lambda value: value or None)
"""Forms send what was left open as an empty string."""
Named = Annotated[Name | None, BLANK_IS_NONE, Query()]


def wanted_experiments(
    q: Words = "",
    phase: Annotated[Phase | None, BLANK_IS_NONE, Query()] = None,
    upstream: Named = None,
    encoder: Named = None,
    target: Named = None,
    arm: Annotated[Name | None, BLANK_IS_NONE, Query(description="A kind of arm, such as `retrieval`")] = None,
    tag: Annotated[Tag | None, BLANK_IS_NONE, Query()] = None,
    archived: Annotated[bool, Query(description="Those that were archived, and no others")] = False,
    sort: Annotated[Sort, Query()] = "newest",
) -> Wanted:
    values = {"upstream": upstream, "encoder": encoder, "target": target, "arm": arm, "tag": tag}
    facets = tuple((facet, value) for facet in get_args(Facet) if (value := values[facet]) is not None)
    return Wanted(words=q, phase=phase, facets=facets, archived=archived, sort=sort)


WantedHere = Annotated[Wanted, Depends(wanted_experiments)]
