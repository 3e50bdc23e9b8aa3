"""Real images from the upstream (paper section 1)."""

from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, StringConstraints, model_validator

from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.catalogue import ClassNames, Template
from touchstone_contracts.values import MOST_CLASSES, ClassKey, Cosine, Name, Strict, WhenSet

Query = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Queries = Annotated[tuple[Query, ...], FailFast(), Field(max_length=1000)]


class TextMatch(Strict):
    """Captions that contain the class's query or one of its aliases.

    `phrase`: the query's words in order, adjacent. `all_tokens`: every word, any order and position.
    `words_or_phrase`: as `phrase` where the query holds a hyphen or slash, else as `all_tokens` (what the paper's
    full-text queries do, section 1.2). `joined_words`: everything between spaces, any order and position, where what a
    hyphen or slash joins stays together in order (the paper's queries for cars). All of these match whole words only;
    in scripts without blanks between words, such as Chinese and Thai, names are found within a run of letters.
    `regex`: RE2 patterns anywhere in the caption, matched in linear time; a class without patterns of its own is looked
    for by its names, signs included, as whole words. All are case-insensitive."""

    kind: Literal["text_match"] = "text_match"
    mode: Literal["phrase", "all_tokens", "words_or_phrase", "joined_words", "regex"] = "phrase"
    results_per_query: int = Field(default=500, ge=1, le=100_000)
    queries: Annotated[dict[ClassKey, Queries], WhenSet] = Field(default={}, max_length=MOST_CLASSES)
    """What is asked of a class instead of the class's query and aliases."""
    query_templates: Annotated[tuple[Template, ...], WhenSet] = Field(default=(), max_length=100)
    """Each filled with the class's query is a query; asked instead of its query and aliases. Not for `regex`."""
    plurals: Annotated[bool, WhenSet] = False
    """Whether the last word of each query is also looked for in the English plural. Patterns stay as they are."""

    @model_validator(mode="after")
    def _templates_are_no_patterns(self) -> Self:
        if self.query_templates and self.mode == "regex":
            raise ValueError("query_templates fill in names, which are no patterns: state queries, or another mode")
        return self


class Semantic(Strict):
    """Nearest neighbours of the filled-in retrieval templates (paper section 1.3).

    `image`: text-to-image over image embeddings; `text`: text-to-text over caption embeddings."""

    kind: Literal["semantic"] = "semantic"
    indexes: tuple[Literal["image", "text"], ...] = Field(default=("image", "text"), min_length=1, max_length=2)
    results_per_query: int = Field(default=500, ge=1, le=100_000)
    max_below_best: Annotated[float | None, WhenSet] = Field(default=None, ge=0, le=2)
    """Of a query's results those count whose cosine is at most this far below that of its best one; None: all. A class
    with few images upstream then does not fill `results_per_query` with images of other classes."""
    templates: Annotated[tuple[Template, ...], WhenSet] = Field(default=(), max_length=1000)
    """Used instead of the target's retrieval templates."""
    near_duplicate_cosine: Annotated[Cosine | None, WhenSet] = None
    """Of the results of one query in one index, those joined by a chain of cosines of at least this count as one image:
    the nearest to the query stays (the paper's search service joined at 0.94). None keeps all."""


class Union(Strict):
    """Both of the above; an image found twice within a class counts once, the first finding is recorded."""

    kind: Literal["union"] = "union"
    text_match: TextMatch = TextMatch()
    semantic: Semantic = Semantic()
    captions_decide: Annotated[bool, WhenSet] = False
    """An image whose caption matches the words of some classes is found for these alone: what resembles another class
    too is not counted for that one."""


class RandomDraw(Strict):
    """Untargeted control: images drawn uniformly from upstream, each labelled with the class whose text is nearest."""

    kind: Literal["random"] = "random"
    images_per_class: int = Field(default=100, ge=1, le=100_000)


Strategy = Annotated[TextMatch | Semantic | Union | RandomDraw, Field(discriminator="kind")]


class Retrieval(ArmSpec):
    kind: Literal["retrieval"] = "retrieval"
    name: Name
    strategy: Strategy = Union()
    names: Annotated[ClassNames, WhenSet] = "given"
    """What queries call the classes. Text queries ask for every name in any case (REAL-Linear)."""
