"""Upstream images by their true class: what retrieval would find if it made no mistake."""

from typing import Annotated, Literal

from touchstone_contracts.arms.spec import ArmSpec
from touchstone_contracts.catalogue import DataLocation
from touchstone_contracts.values import Digest, Locator, Name, SourceImages, Strict


class LabelTable(Strict):
    """A parquet file that says which class an upstream image shows, with the columns `key` (of the image in its
    upstream; of a link its URL), `target` and `class_id`. An image without a row is of no class, one with several of
    each."""

    location: Annotated[DataLocation, Locator]
    digest: Digest
    images: SourceImages
    """Rows, of all targets together."""


class Labelled(ArmSpec):
    """The upstream images that a table of true classes names, curated as every arm: the ceiling of retrieval."""

    kind: Literal["labelled"] = "labelled"
    name: Name = "labelled"
    labels: LabelTable
