"""Where the prompts of a generation arm come from (paper sections 2.1 and 2.4)."""

from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, StringConstraints, model_validator

from touchstone_contracts.catalogue import PinnedModel
from touchstone_contracts.values import MOST_CLASSES, ClassKey, Fraction, Name, Strict, WhenSet

CaptionMode = Literal["class_only", "relation", "background", "texture"]
"""What a caption says beside the class: nothing more, a spatial relation, a scene, or (of a texture) a surface."""
Scene = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Scenes = Annotated[tuple[Scene, ...], FailFast(), Field(max_length=1000)]
Share = Annotated[float, Field(ge=0, le=1)]


class Templates(Strict):
    """The target's synthesis templates in turn."""

    kind: Literal["templates"] = "templates"


class GrammarWriter(Strict):
    """Sentence patterns and word lists: needs no model, and its captions name their class by construction."""

    kind: Literal["grammar"] = "grammar"


class TransformersWriter(PinnedModel):
    """A causal language model that continues a few examples (the paper: LLaMA-2 7B base, section 2.1)."""

    kind: Literal["transformers"] = "transformers"
    temperature: float = Field(default=0.8, gt=0, le=5)
    top_p: Fraction = 0.9
    max_new_tokens: int = Field(default=100, ge=1, le=1000)
    batch_size: int = Field(default=64, ge=1, le=1024)


Writer = Annotated[GrammarWriter | TransformersWriter, Field(discriminator="kind")]


class ModeShares(Strict):
    """How often each mode is drawn, relative to their sum. The paper's shares; a target of textures uses `texture`
    alone."""

    class_only: Share = 0.44
    relation: Share = 0.11
    background: Share = 0.45
    texture: Share = 0.0

    @model_validator(mode="after")
    def _some_mode_is_used(self) -> Self:
        if not any(share for _, share in self):
            raise ValueError("at least one mode needs a share")
        return self


class LanguageModel(Strict):
    """Captions written for each class, the same number for every class (the paper draws the class as well)."""

    kind: Literal["language_model"] = "language_model"
    writer: Writer = GrammarWriter()
    modes: ModeShares = ModeShares()
    backgrounds: Scenes = ()
    """Scenes for the mode `background`, as the paper has them per target. Left out: a general list."""
    class_backgrounds: Annotated[dict[ClassKey, Scenes], WhenSet] = Field(default={}, max_length=MOST_CLASSES)
    """Scenes for a class instead."""
    class_word: Annotated[str, WhenSet] = Field(default="", max_length=50)
    """Follows the class's name in what the writer is asked for: `aircraft` after "A320", which alone does not say what
    is meant."""
    unnamed: Annotated[Literal["rewritten", "kept"], WhenSet] = "rewritten"
    """What becomes of a caption that does not name its class. `kept`: it stays as written and is counted, as in the
    paper, which did not look; only an empty one is written again."""
    attempts: int = Field(default=3, ge=1, le=20)
    """Captions written until one can stay; after the last a template is used instead and counted."""


class RetrievedCaptions(Strict):
    """Captions of the images another arm retrieved and curation kept: same captions, synthetic pixels.

    Captions of the curated pool and not of all candidates: these describe the images that arm trains on. Captions of
    images that curation rejected (of another class, say) would be held against the generator."""

    kind: Literal["retrieved_captions"] = "retrieved_captions"
    arm: Name
    """A retrieval arm of the same experiment."""


Prompts = Annotated[Templates | LanguageModel | RetrievedCaptions, Field(discriminator="kind")]
