"""Upstreams, targets and data sets by where their files lie alone.

A retrieval worker looks what is there and writes the document of the catalogue, with digests and counts (contract
`describe_source`). Then that is registered."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from touchstone_contracts.account import MOST_LOSSES, MostLosses
from touchstone_contracts.catalogue import (
    HUB_DATASET,
    LOCATION,
    PLACEHOLDER_LINKS,
    SEGMENT,
    UPLOAD,
    WEB_FILE,
    ColumnName,
    ImageColumns,
    Lineage,
    LinkColumns,
    MostUnsafe,
    PlaceholderLinks,
    Templates,
)
from touchstone_contracts.values import MOST_CLASSES, LongText, Name, One, Posted, Strict, WhenSet, is_none

_PATH = rf"{SEGMENT}(/{SEGMENT})*/?"
_BUCKET = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
MOST_LOCATIONS = 10_000

_FORMS = (
    rf"^(library:{_PATH}|(s3|gs)://{_BUCKET}(/([^./\x00-\x1f\x7f][^\x00-\x1f\x7f]*)?)?"
    rf"|hf://{HUB_DATASET}(@[\w.-]+)?(/{_PATH})?|{WEB_FILE}|upload://{UPLOAD}(/{_PATH})?)$"
)


def _of_a_known_form(value: Any) -> Any:
    """Blanks in the address of a web server are encoded, as browsers do."""
    if not isinstance(value, str):
        return value
    if value.startswith(("http://", "https://")):
        value = value.replace(" ", "%20")
    if not re.fullmatch(_FORMS, value):
        raise PydanticCustomError(
            "location",
            "This is not a location. Allowed are hf://datasets/OWNER/NAME, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
            "https://HOST/FILE (without a query or password), library:FOLDER and upload://ID; no part of a path may "
            "begin with a dot.",
        )
    return value


Location = Annotated[str, StringConstraints(pattern=_FORMS, max_length=1000), BeforeValidator(_of_a_known_form)]
"""A file, a folder, or files by a pattern: `*` stands for any characters but `/`, `**` for any folders.

`hf://datasets/<owner>/<name>[@<revision>][/<path>]`, `s3://<bucket>/<prefix>`, `gs://<bucket>/<prefix>`,
`https://<host>/<file>`, `library:<path>` or `upload://<id>[/<path>]`."""


def _several(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    return One(validate((value,))) if isinstance(value, str) else validate(value)


SomeLocations = Annotated[tuple[Location, ...], Field(min_length=1, max_length=MOST_LOCATIONS)]
Locations = Annotated[SomeLocations, WrapValidator(_several, json_schema_input_type=Location | SomeLocations)]
"""One location, or a list of them."""

UpstreamLayout = Literal["webdataset", "parquet", "links", "image_folder"]
TargetLayout = Literal["webdataset", "parquet", "class_folders"]
Layout = UpstreamLayout | TargetLayout
"""The `format` of what is registered. Left out, it is recognised by the names of the files."""
SomeClasses = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...],
    Field(min_length=2, max_length=MOST_CLASSES),
]
WITH_COLUMNS = ("parquet", "links")
"""Layouts whose files have columns."""
DEFAULT_TEMPLATE = "a photo of {article} {name}"


def _of_files_with_columns(columns: Any, info: ValidationInfo) -> Any:
    layout = info.data.get("layout")
    if columns is not None and layout is not None and layout not in WITH_COLUMNS:
        raise PydanticCustomError(
            "columns", "Files of layout {layout} have no columns: leave this out.", {"layout": layout}
        )
    return columns


NamedColumns = AfterValidator(_of_files_with_columns)


class UpstreamColumns(LinkColumns):
    """What the files of an upstream call their columns: `image`, `caption` and `key` of parquet files with images, the
    others and `caption` of tables of links. One that is left out is found by its usual names, if it is there."""

    image: ColumnName | None = None
    key: ColumnName | None = None


EmbeddingsName = Annotated[str, StringConstraints(pattern=r"^[\w-]{1,90}$")]


class LinkChoices(Strict):
    """What is taken of tables of links."""

    embeddings: EmbeddingsName | None = Field(default=None, exclude_if=is_none)
    """Which embeddings of the `.npz` file beside each table: `l14` takes the arrays `l14_img` and `l14_txt`. Left out:
    those that are there, where there is one pair."""
    uids: Annotated[Location | None, LOCATION] = Field(default=None, exclude_if=is_none)
    """A list of uids, a `.npy` file as DataComp has it or a text file with a uid per line: rows that are not in it do
    not belong to the upstream."""
    most_unsafe: MostUnsafe | None = Field(default=None, exclude_if=is_none)
    """Rows whose `punsafe` or `nsfw` is higher are left out, and rows that do not say. Tags count as numbers: UNLIKELY
    0, UNSURE 0.5, NSFW 1."""


class LocatedUpstream(Posted, LinkChoices):
    """An upstream by where its files lie."""

    name: Name
    location: Annotated[Locations, LOCATION]
    layout: UpstreamLayout | None = None
    index_encoder: Name | None = None
    """Left out: the encoder with a text tower, where just one is registered."""
    columns: Annotated[UpstreamColumns | None, NamedColumns, WhenSet] = Field(default=None, exclude_if=is_none)
    most_losses: MostLosses = MOST_LOSSES
    placeholder_links: PlaceholderLinks = Field(default=PLACEHOLDER_LINKS, exclude_if=PLACEHOLDER_LINKS.__eq__)
    """Of links: a picture that so many links lead to is a placeholder for images that are gone, and is left out."""
    licence: str = Field(default="", max_length=200)
    description: LongText = ""

    @property
    def links(self) -> LinkChoices:
        return LinkChoices(embeddings=self.embeddings, uids=self.uids, most_unsafe=self.most_unsafe)

    @model_validator(mode="after")
    def _only_links_have_choices(self) -> Self:
        if self.layout not in (None, "links") and self.links != LinkChoices():
            raise ValueError(f"embeddings, uids and most_unsafe are of layout links, not of {self.layout}")
        return self


class LocatedSplits(Strict):
    validation: Annotated[Locations, LOCATION]
    test: Annotated[Locations, LOCATION]
    train: Annotated[Locations | None, LOCATION] = None


class LocatedTarget(Posted):
    """A target by where its files lie: all below one location, in folders or files called `train`, `validation` (`val`,
    `valid`, `dev`) and `test`, or each split at its own. A split may consist of several files."""

    name: Name
    location: Annotated[Locations | None, LOCATION] = None
    splits: LocatedSplits | None = None
    layout: TargetLayout | None = None
    classes: SomeClasses | None = None
    """Display names in the order of ids. Left out: the class folders in the order of their names, or the classes that a
    Hugging Face parquet file names."""
    templates: Templates | None = None
    """Left out: "a photo of {article} {name}" for every purpose."""
    columns: Annotated[ImageColumns | None, NamedColumns, WhenSet] = Field(default=None, exclude_if=is_none)
    most_losses: MostLosses = MOST_LOSSES
    description: LongText = ""

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if (self.location is None) == (self.splits is None):
            raise ValueError("name a location with every split below it, or `splits` with the location of each")
        return self


class LocatedDataset(Posted, Lineage):
    """Labelled images for the classes of a registered target, by where they lie."""

    name: Name
    target: Name
    location: Annotated[Locations, LOCATION]
    layout: TargetLayout | None = None
    columns: Annotated[ImageColumns | None, NamedColumns, WhenSet] = Field(default=None, exclude_if=is_none)
    most_losses: MostLosses = MOST_LOSSES
    licence: str = Field(default="", max_length=200)
    description: LongText = ""


Located = LocatedUpstream | LocatedTarget | LocatedDataset
