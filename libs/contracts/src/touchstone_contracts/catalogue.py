"""What an experiment refers to by name: upstreams, targets, encoders, generators.

Places are written `library:<path>` (below the worker's read-only library folder) or `hub:<name>` (a model hub;
`hub:ViT-B-16@laion2b_s34b_b88k` for open_clip, `hub:<owner>/<repository>@<revision>` for diffusers).
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from touchstone_contracts.values import Digest, Locator, Name, Strict

# No path segment starts with a dot, so a place cannot lead out of the library folder.
_PATH = r"[\w@+-][\w@.+-]*(/[\w@+-][\w@.+-]*)*"
LibraryPath = Annotated[str, StringConstraints(pattern=rf"^library:{_PATH}$", max_length=400)]
ModelPlace = Annotated[str, StringConstraints(pattern=rf"^(library|hub):{_PATH}$", max_length=400)]
Template = Annotated[str, StringConstraints(pattern=r"\{name\}", max_length=300)]
"""A sentence with `{name}` where the class name goes."""


class ImageSource(Strict):
    """One file of images, named by its content.

    Parquet columns: `key`, `image` (encoded bytes), and `caption` (upstream) or `class_id` (target split)."""

    format: Literal["parquet"] = "parquet"
    location: Annotated[LibraryPath, Locator]
    digest: Digest
    images: int = Field(gt=0)


class PinnedModel(Strict):
    """A model at a place where the same bytes are found again."""

    model: ModelPlace
    digest: Digest | None = None
    """sha256 over the model folder (touchstone_runtime.digests); checked when loaded."""

    @model_validator(mode="after")
    def _library_models_carry_their_digest(self) -> Self:
        if self.digest is None and self.model.startswith("library:"):
            raise ValueError("a model from the library needs its digest")
        if self.digest is None and "@" not in self.model:
            raise ValueError("a model from a hub needs '@revision' (or pretrained tag) or a digest")
        return self


class Model(PinnedModel):
    name: Name
    trained_on: Name | None = None
    """The upstream the weights were trained on: its lineage."""
    description: str = ""


class Encoder(Model):
    """A CLIP model that open_clip can load."""


class Generator(Model):
    """A text-to-image pipeline that diffusers can load."""

    image_size: int = Field(default=512, gt=0, multiple_of=8)


class ClassLabel(Strict):
    """A class is its integer id; names may repeat and never serve as keys (paper.md D1)."""

    id: int = Field(ge=0)
    display_name: str = Field(min_length=1, max_length=200)
    aliases: tuple[str, ...] = ()
    retrieval_query: str | None = None
    synthesis_name: str | None = None

    @property
    def query(self) -> str:
        return self.retrieval_query or self.display_name

    @property
    def prompt_name(self) -> str:
        return self.synthesis_name or self.display_name


class Templates(Strict):
    """Templates by purpose (paper section 1.4)."""

    retrieval: tuple[Template, ...] = Field(min_length=1)
    filter: tuple[Template, ...] = Field(min_length=1)
    zero_shot: tuple[Template, ...] = Field(min_length=1)
    synthesis: tuple[Template, ...] = Field(min_length=1)


class Splits(Strict):
    validation: ImageSource
    test: ImageSource
    train: ImageSource | None = None


class Target(Strict):
    """The classification task to be good at."""

    name: Name
    classes: tuple[ClassLabel, ...] = Field(min_length=2)
    templates: Templates
    splits: Splits
    description: str = ""

    @model_validator(mode="after")
    def _class_ids_count_from_zero(self) -> Self:
        if [label.id for label in self.classes] != list(range(len(self.classes))):
            raise ValueError("class ids must be 0, 1, 2, ... in order")
        return self


class Upstream(Strict):
    """The general image-text collection real images are retrieved from."""

    name: Name
    shards: tuple[ImageSource, ...] = Field(min_length=1)
    index_encoder: Name
    """The encoder whose embeddings are searched."""
    description: str = ""

    @property
    def images(self) -> int:
        return sum(shard.images for shard in self.shards)


class Catalogue(Strict):
    """A file of things to register, as `miniverse/catalogue.yaml` is."""

    encoders: tuple[Encoder, ...] = ()
    generators: tuple[Generator, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    targets: tuple[Target, ...] = ()
