"""Real images from the upstream (paper section 1)."""

from typing import Annotated, Literal

from pydantic import Field

from touchstone_contracts.values import Name, Strict


class TextMatch(Strict):
    """Captions that contain the class's query.

    `phrase`: the query's words in order, adjacent. `all_tokens`: every word, any order and position (what the
    paper's full-text queries do, section 1.2). Both are case-insensitive and match whole words only."""

    kind: Literal["text_match"] = "text_match"
    mode: Literal["phrase", "all_tokens"] = "phrase"
    results_per_query: int = Field(default=500, ge=1, le=100_000)


class Semantic(Strict):
    """Nearest neighbours of the filled-in retrieval templates (paper section 1.3).

    `image`: text-to-image over image embeddings; `text`: text-to-text over caption embeddings."""

    kind: Literal["semantic"] = "semantic"
    indexes: tuple[Literal["image", "text"], ...] = Field(default=("image", "text"), min_length=1)
    results_per_query: int = Field(default=500, ge=1, le=100_000)


class Union(Strict):
    """Both of the above; an image found twice within a class counts once, the first finding is recorded."""

    kind: Literal["union"] = "union"
    text_match: TextMatch = TextMatch()
    semantic: Semantic = Semantic()


class RandomDraw(Strict):
    """Untargeted control: images drawn uniformly from upstream, each labelled with the class whose text is nearest."""

    kind: Literal["random"] = "random"
    images_per_class: int = Field(default=100, ge=1, le=100_000)


Strategy = Annotated[TextMatch | Semantic | Union | RandomDraw, Field(discriminator="kind")]


class Retrieval(Strict):
    kind: Literal["retrieval"] = "retrieval"
    name: Name
    strategy: Strategy = Union()
