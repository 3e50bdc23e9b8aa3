"""From a search that somebody asked for to its plan of one step, and what is stored so that its result can be told."""

import base64
from collections.abc import Sequence

from touchstone_contracts.catalogue import Encoder
from touchstone_contracts.identity import sha256
from touchstone_contracts.search import SearchIn, UpstreamSearch
from touchstone_contracts.steps import SEARCH_UPSTREAM, EmbeddedShard, SearchUpstream
from touchstone_contracts.values import Digest, Name, StepId, Strict

from touchstone_planning.dag import Plan


class StoredSearch(Strict):
    """What was asked, without the bytes of an image."""

    step: StepId
    upstream: Name
    text: str | None
    image: Digest | None
    """Of the encoded image."""
    like: str | None
    search_in: SearchIn
    limit: int
    files: int
    """That are searched."""
    all_files: int


def plan_search(
    upstream: str, encoder: Encoder, shards: Sequence[EmbeddedShard], all_files: int, asked: UpstreamSearch
) -> tuple[Plan, StoredSearch]:
    """`shards`: those of the upstream that are ingested and embedded by `encoder`."""
    plan = Plan()
    request = SearchUpstream(
        shards=tuple(shards),
        encoder=plan.model(encoder),
        text=asked.text,
        image=asked.image,
        like=asked.like,
        search_in=asked.search_in,
        limit=asked.limit,
    )
    stored = StoredSearch(
        step=plan.add(SEARCH_UPSTREAM, request, f"{upstream}/search"),
        upstream=upstream,
        text=asked.text,
        image=None if asked.image is None else sha256(base64.b64decode(asked.image)),
        like=asked.like,
        search_in=asked.search_in,
        limit=asked.limit,
        files=len(shards),
        all_files=all_files,
    )
    return plan, stored
