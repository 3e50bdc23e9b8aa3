"""What an experiment refers to by name: upstreams, targets, encoders, generators.

A location is written `library:<path>` (below the worker's read-only library folder),
`hub:<owner>/<repository>@<commit>` (a model hub), or, for data alone, `s3://<bucket>/<key>` (on the S3 server of the
workers' settings, which also hold the credentials), `gs://<bucket>/<key>`,
`hf://datasets/<owner>/<name>@<commit>/<path>` (a data set of a hub), `https://<host>/<path>` or
`upload://<project>.<number>/<path>` (in an uploaded archive). Which of them may be read is said by
touchstone_contracts.sources.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, StringConstraints, model_validator

from touchstone_contracts.account import MOST_LOSSES, MostLosses
from touchstone_contracts.families import FAMILIES, GeneratorFamily
from touchstone_contracts.identity import sha256
from touchstone_contracts.values import (
    MOST_CLASSES,
    Digest,
    Locator,
    LongText,
    Name,
    Pixels,
    Posted,
    SourceImages,
    Strict,
    WhenSet,
    is_none,
)

LOCATION = "location"
"""Marks a field that says where bytes are read from; see sources.py."""
SEGMENT = r"[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]*"
"""One segment of a path: whatever a file system allows except control characters. No segment starts with a dot, so that
a location cannot lead out of the library folder."""
_PATH = rf"{SEGMENT}(/{SEGMENT})*"
_REPOSITORY = r"[\w@+-][\w@.+-]*(/[\w@+-][\w@.+-]*)*"
_OBJECT = r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^./\x00-\x1f\x7f][^\x00-\x1f\x7f]*"  # bucket/key
UPLOAD = r"[a-z0-9]{1,12}\.[a-z0-9]{32}"
"""The id of an uploaded archive: the project's id and what nobody guesses."""
HUB_DATASET = r"datasets/[\w-][\w.-]*/[\w-][\w.-]*"
WEB_FILE = r"https?://[a-zA-Z0-9.:\[\]-]+/[^\x00-\x20\x7f?#]+"
"""Without credentials and without a query, which often is one."""
DataLocation = Annotated[
    str,
    StringConstraints(
        pattern=rf"^(library:{_PATH}|(s3|gs)://{_OBJECT}|hf://{HUB_DATASET}@[0-9a-f]{{40}}(/{_PATH})?|{WEB_FILE}"
        rf"|upload://{UPLOAD}(/{_PATH})?)$",
        max_length=1000,
    ),
    LOCATION,
]
"""A file or folder of the library, of a data set of the hub at one commit or of an uploaded archive; an object, or the
objects below a prefix, of a bucket; a file of a web server."""
FolderName = Annotated[str, StringConstraints(pattern=r"^[^./\\][^/\\]*$", max_length=255)]
ModelLocation = Annotated[
    str, StringConstraints(pattern=rf"^(library:{_PATH}|hub:{_REPOSITORY})$", max_length=400), LOCATION
]
Template = Annotated[str, StringConstraints(pattern=r"\{name\}", max_length=300)]
"""A sentence with `{name}` where the class name goes; `{article}` becomes "an" before a lower-case vowel, else "a"."""
ARTICLE = "{article}"


def filled(template: str, name: str) -> str:
    """The template's sentence about `name`. Only lower-case vowels take "an" (paper section 1.4)."""
    article = "an" if name[:1] in set("aeiou") else "a"
    return template.replace(ARTICLE, article).replace("{name}", name)


class ClusterColumn(Strict):
    """Which test images belong together stands in a column of the file; an empty value belongs to no other."""

    kind: Literal["column"] = "column"
    column: str = Field(min_length=1, max_length=200)


class ClusterOfKey(Strict):
    """Images belong together whose keys are alike once every match of `remove`, an RE2 regular expression, is gone."""

    kind: Literal["key"] = "key"
    remove: str = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _is_a_regular_expression(self) -> Self:
        try:
            re.compile(self.remove)
        except re.error as error:
            raise ValueError(f"remove is not a regular expression: {error}") from error
        return self


Cluster = Annotated[ClusterColumn | ClusterOfKey, Field(discriminator="kind")]
"""Test images that were drawn together, and so are not independent: of one concept, scene, patient or source picture.
Only of test sets."""


ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
LabelText = Annotated[str, StringConstraints(min_length=1, max_length=300)]
ClassCount = Annotated[int, Field(ge=2, le=MOST_CLASSES)]


class ImageColumns(Strict):
    """What a file of images calls its columns. One that is left out is found by its usual names."""

    key: ColumnName | None = None
    image: ColumnName | None = None
    caption: ColumnName | None = None
    label: ColumnName | None = None


class ParquetFile(Strict):
    """Columns: an image (encoded bytes, or Hugging Face's struct of `bytes` and `path`), and a caption (upstream) or a
    label (target split); perhaps a key. Without keys, images are called by the file's digest and their row."""

    format: Literal["parquet"] = "parquet"
    location: Annotated[DataLocation, Locator]
    digest: Digest
    images: SourceImages
    cluster: Annotated[Cluster | None, WhenSet] = None
    columns: Annotated[ImageColumns, WhenSet] = ImageColumns()
    labels: Annotated[tuple[LabelText, ...], FailFast(), WhenSet] = Field(default=(), max_length=MOST_CLASSES)
    """What its labels call class 0, 1, 2, ...: texts, names of Hugging Face's ClassLabel, or other numbers. Left out:
    its numbers are the class ids."""
    classes: Annotated[ClassCount | None, WhenSet] = None
    """How many there are, where `labels` does not say: rows of others are refused. None: those of the target."""

    @model_validator(mode="after")
    def _labels_are_counted_once(self) -> Self:
        if self.labels and self.classes is not None:
            raise ValueError("labels say how many classes there are: leave classes out")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("two classes have one label")
        return self

    @property
    def most_classes(self) -> int | None:
        return len(self.labels) or self.classes


class TarShard(Strict):
    """A WebDataset shard as img2dataset writes it: `<key>.jpg` with `<key>.txt` or `<key>.json` (upstream) or
    `<key>.cls`, the class id in digits (target split)."""

    format: Literal["webdataset"] = "webdataset"
    location: Annotated[DataLocation, Locator]
    digest: Digest
    images: SourceImages
    cluster: Annotated[ClusterOfKey | None, WhenSet] = None


class ImageFolder(Strict):
    """The images that lie directly in one folder of an upstream.

    Captions: `metadata.csv` in it (columns `file_name` and `caption`) or `metadata.jsonl` (an object per line with the
    same fields), else a `.txt` of the image's name beside it."""

    format: Literal["image_folder"] = "image_folder"
    location: Annotated[DataLocation, Locator]
    digest: Digest
    """listing_digest over the images and their captions (touchstone_runtime.digests)."""
    images: SourceImages


class ClassFolders(Strict):
    """A target split as one folder per class."""

    format: Literal["class_folders"] = "class_folders"
    location: Annotated[DataLocation, Locator]
    digest: Digest
    """listing_digest over the images."""
    images: SourceImages
    folders: Annotated[tuple[FolderName, ...], FailFast()] = Field(min_length=2, max_length=MOST_CLASSES)
    """The folder of class 0, 1, 2, ...: said here, never read off their order, which one missing folder shifts."""
    cluster: Annotated[ClusterOfKey | None, WhenSet] = None
    """An image's key is its path below the location."""


LabelledFile = Annotated[ParquetFile | TarShard, Field(discriminator="format")]
MOST_FILES = 5_000
"""Of a split. ImageNet-22k is published as 4,096 shards."""


class SourceFiles(Strict):
    """Several parquet files or tar shards that hold one split, as published data sets do
    (`train-00000-of-00013.parquet`, ...). They are ingested in one step, one after the other, in this order."""

    format: Literal["files"] = "files"
    files: Annotated[tuple[LabelledFile, ...], FailFast()] = Field(min_length=1, max_length=MOST_FILES)
    """Each is there once. None names clusters of its own."""
    cluster: Annotated[Cluster | None, WhenSet] = None
    """Of the images of all files together."""

    @property
    def digest(self) -> Digest:
        """sha256 over the digests of the files, in their order."""
        return sha256("".join(file.digest for file in self.files).encode())

    @property
    def images(self) -> int:
        return sum(file.images for file in self.files)

    @model_validator(mode="after")
    def _every_file_is_there_once(self) -> Self:
        if repeated := repeated_file(self.files):
            raise ValueError("{} and {} hold the same bytes: leave one of them out".format(*repeated))
        return self

    @model_validator(mode="after")
    def _clusters_are_of_all_files(self) -> Self:
        if clustered := next((file for file in self.files if file.cluster is not None), None):
            raise ValueError(f"{clustered.location} names clusters: name them once, beside files")
        tar = next((file for file in self.files if isinstance(file, TarShard)), None)
        if isinstance(self.cluster, ClusterColumn) and tar is not None:
            raise ValueError(f"{tar.location} has no column: name clusters by key")
        return self


def repeated_file(files: Sequence[ParquetFile | TarShard]) -> tuple[str, str] | None:
    """The locations of the first two files that are the same one. None: all differ."""
    known = dict[str, str]()
    for file in files:
        for name in (file.location, file.digest):
            if name in known:
                return known[name], file.location
        known |= {file.location: file.location, file.digest: file.location}
    return None


ArrayName = Annotated[str, StringConstraints(pattern=r"^[\w-]{1,100}$")]


class ArrayFile(Strict):
    """An array that NumPy wrote: a `.npy` file, or one array of an `.npz` file."""

    location: Annotated[DataLocation, Locator]
    digest: Digest
    """Of the whole file."""
    array: Annotated[ArrayName | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Which one of an `.npz` file, e.g. `l14_img`; None: the file is a `.npy`."""


class UidList(Strict):
    """Which rows of tables belong to the upstream, as DataComp's filters publish it: a `.npy` file of 128-bit uids
    (dtype `u8,u8`, the first 16 hexadecimal digits and the other 16), or a text file with a uid of 32 digits per
    line."""

    location: Annotated[DataLocation, Locator]
    digest: Digest


PlaceholderLinks = Annotated[int, Field(ge=2, le=1_000_000)]
PLACEHOLDER_LINKS = 5
"""Links to one picture, where the registration does not say: a copy or two are usual, and are left out anyway."""


class LinkColumns(Strict):
    """What a table of links calls its columns. One that is left out is found by its usual names, if it is there."""

    url: ColumnName | None = None
    caption: ColumnName | None = None
    sha256: ColumnName | None = None
    unsafe: ColumnName | None = None
    """How unsafe an image is, as a number or a tag."""
    width: ColumnName | None = None
    height: ColumnName | None = None
    uid: Annotated[ColumnName | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """By which a list of uids names rows."""


MostUnsafe = Annotated[float, Field(ge=0, le=1)]


class LinkTable(Strict):
    """Metadata without images, as LAION, DataComp, COYO, CC3M and CC12M publish it: a table with the columns `url` and
    `caption` (or `text`), perhaps `sha256`, `nsfw`, `punsafe`, `width`, `height` and `uid`, in any case of letters. A
    parquet file, or by the ending of its name text: `.csv`, `.tsv`, `.jsonl` or `.ndjson`, also with `.gz`. The columns
    of a CSV or TSV without a header are called "1", "2", ...

    It may come with row-aligned embeddings of the upstream's index encoder. Images are downloaded once an arm has
    retrieved them."""

    format: Literal["links"] = "links"
    location: Annotated[DataLocation, Locator]
    digest: Digest
    images: SourceImages
    """Rows."""
    image_embeddings: ArrayFile | None = None
    """fp16 or fp32 (rows, dimension). None: images are found by their captions alone."""
    caption_embeddings: ArrayFile | None = None
    """None: computed from the captions."""
    columns: Annotated[LinkColumns, WhenSet] = LinkColumns()
    most_unsafe: Annotated[MostUnsafe | None, WhenSet] = None
    """Rows above it are left out, and rows that do not say. Tags count as numbers: UNLIKELY 0, UNSURE 0.5, NSFW 1.
    None: those tagged NSFW are left out."""
    uids: Annotated[UidList | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Rows whose uid is not in the list keep their row numbers, but no search finds them. None: all belong to it."""

    @model_validator(mode="after")
    def _an_unsafe_column_has_a_limit(self) -> Self:
        if self.columns.unsafe is not None and self.most_unsafe is None:
            raise ValueError("columns names one that says how unsafe an image is: say most_unsafe, from 0 to 1")
        return self


Source = Annotated[
    ParquetFile | TarShard | ImageFolder | ClassFolders | SourceFiles | LinkTable,
    Field(discriminator="format"),
]
"""A file or folder of images, or the files of one split, named by its content: one ingest step."""
UpstreamShard = Annotated[ParquetFile | TarShard | ImageFolder | LinkTable, Field(discriminator="format")]
TargetSplit = Annotated[ParquetFile | TarShard | ClassFolders | SourceFiles, Field(discriminator="format")]


def single_files(split: TargetSplit) -> tuple[ParquetFile | TarShard | ClassFolders, ...]:
    """Each file, or the folder, that a split consists of."""
    return split.files if isinstance(split, SourceFiles) else (split,)


class PinnedModel(Strict):
    """A model at a location where the same bytes are always found."""

    model: ModelLocation
    digest: Digest | None = None
    """sha256 over the model folder (touchstone_runtime.digests); checked when loaded."""

    @model_validator(mode="after")
    def _library_models_carry_their_digest(self) -> Self:
        if self.digest is None and self.model.startswith("library:"):
            raise ValueError("a model from the library needs its digest")
        if self.digest is None and "@" not in self.model:
            raise ValueError("a model from a hub needs its commit: hub:<owner>/<repository>@<commit>")
        return self


class Model(PinnedModel, Posted):
    name: Name
    trained_on: Name | None = None
    """The upstream the weights were trained on: its lineage."""
    description: LongText = ""


EncoderKind = Literal["clip", "timm", "copy_descriptor"]


class Encoder(Model):
    """`clip`: a model that open_clip loads. `timm`: an image backbone without a text tower that timm loads (DINOv2, a
    supervised one), from a folder as timm saves it or `hub:<owner>/<repository>@<commit>`; an experiment with it
    measures probes alone. `copy_descriptor`: a network trained to recognise copies of images (ISC21), from a folder as
    `touchstone_encoders.convert_descriptor` writes it; meant for `curation.copy_encoder`."""

    kind: Annotated[EncoderKind, WhenSet] = "clip"

    @property
    def has_text_tower(self) -> bool:
        return self.kind == "clip"


class Generator(Model):
    """A text-to-image or class-conditional pipeline that diffusers can load."""

    family: Annotated[GeneratorFamily | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What it can do, and its usual steps and guidance. Left out: what is asked of it is refused by the worker that
    loads it and not when an experiment is posted."""
    image_size: Pixels = Field(default=512, multiple_of=8)
    """Pixels a side. Left out: the usual size of its family, 512 without one."""

    @model_validator(mode="before")
    @classmethod
    def _size_of_its_family(cls, value: object) -> object:
        if isinstance(value, dict) and "image_size" not in value:
            family = next((known for name, known in FAMILIES.items() if name == value.get("family")), None)
            return value if family is None else value | {"image_size": family.image_size}
        return value


ClassName = Annotated[str, StringConstraints(max_length=1000)]
"""One that queries and prompts use beside the display name."""


class ClassLabel(Strict):
    """A class is its integer id; names may repeat and never serve as keys."""

    id: int = Field(ge=0, lt=MOST_CLASSES)
    display_name: str = Field(min_length=1, max_length=200)
    aliases: Annotated[tuple[ClassName, ...], FailFast()] = Field(default=(), max_length=1000)
    retrieval_query: ClassName | None = None
    synthesis_name: ClassName | None = None

    @property
    def query(self) -> str:
        return self.retrieval_query or self.display_name

    @property
    def prompt_name(self) -> str:
        return self.synthesis_name or self.display_name

    def called(self, name: str) -> "ClassLabel":
        """Under another of its names."""
        return self.model_copy(update={"display_name": name})

    def asked_for_as(self, name: str) -> "ClassLabel":
        """With another of its names in queries and prompts; text queries still ask for the others, too."""
        if name == self.display_name:
            return self
        others = tuple(other for other in (self.display_name, *self.aliases) if other != name)
        return self.model_copy(update={"retrieval_query": name, "synthesis_name": name, "aliases": others})


ClassNames = Literal["given", "most_frequent"]
"""What a class is called: by the name it is registered with, or by the one of its names that most captions of the
upstream hold (REAL-Prompt, arXiv 2401.12425)."""


def ids_by_key(classes: Sequence[ClassLabel]) -> dict[str, list[int]]:
    """What a class may be called in a spec -> ids: its display name, several ids where it repeats; else its id."""
    named: dict[str, list[int]] = {}
    for label in classes:
        named.setdefault(label.display_name, []).append(label.id)
    return {str(label.id): [label.id] for label in classes} | named


SomeTemplates = Annotated[tuple[Template, ...], FailFast(), Field(min_length=1, max_length=1000)]


class Templates(Strict):
    """Templates by purpose (paper section 1.4)."""

    retrieval: SomeTemplates
    filter: SomeTemplates
    zero_shot: SomeTemplates
    synthesis: SomeTemplates


MAIN_TEST_SET = "test"
"""What results call the images of `Splits.test`."""


def on_test_set(measured: str, test_set: str) -> str:
    """ "flags", "flags on sketch": the main test set goes without saying."""
    return measured if test_set == MAIN_TEST_SET else f"{measured} on {test_set}"


class Splits(Strict):
    validation: TargetSplit
    test: TargetSplit
    train: TargetSplit | None = None
    further_tests: Annotated[dict[Name, TargetSplit], WhenSet] = Field(default={}, max_length=20)
    """By name: the same classes in other domains. Tested beside `test`, reported apart, never trained on."""

    @property
    def tests(self) -> dict[str, TargetSplit]:
        """Every test set by its name in the results, the main one first."""
        return {MAIN_TEST_SET: self.test} | dict(sorted(self.further_tests.items()))

    @property
    def by_name(self) -> dict[str, TargetSplit]:
        trained_on = {"validation": self.validation, "train": self.train}
        return self.tests | {name: split for name, split in trained_on.items() if split is not None}

    @model_validator(mode="after")
    def _clusters_are_of_test_sets(self) -> Self:
        for name in ("validation", "train"):
            split = self.by_name.get(name)
            if split is not None and split.cluster is not None:
                raise ValueError(f"{name} names clusters, which only test sets have: leave its cluster out")
        return self

    @model_validator(mode="after")
    def _further_tests_are_other_images(self) -> Self:
        if taken := sorted({"train", "validation", MAIN_TEST_SET} & set(self.further_tests)):
            raise ValueError(f"further_tests must not be called {taken[0]!r}: a split of the target has that name")
        for name, split in self.further_tests.items():
            others = {other: found for other, found in self.by_name.items() if other != name}
            known = {file.digest: other for other, found in others.items() for file in single_files(found)}
            if same := next((file for file in single_files(split) if file.digest in known), None):
                raise ValueError(f"test set {name!r} has the images of {known[same.digest]!r}: {same.location}")
        return self


class Target(Posted):
    """The classification task to be good at."""

    name: Name
    classes: Annotated[tuple[ClassLabel, ...], FailFast()] = Field(min_length=2, max_length=MOST_CLASSES)
    templates: Templates
    splits: Splits
    most_losses: Annotated[MostLosses, WhenSet] = MOST_LOSSES
    """Share of a split's images that may be refused at ingest; where more are, the ingest fails."""
    description: LongText = ""

    @model_validator(mode="after")
    def _class_ids_count_from_zero(self) -> Self:
        if [label.id for label in self.classes] != list(range(len(self.classes))):
            raise ValueError("class ids must be 0, 1, 2, ... in order")
        return self

    @model_validator(mode="after")
    def _every_class_has_its_folder(self) -> Self:
        for name, split in self.splits.by_name.items():
            if isinstance(split, ClassFolders) and len(split.folders) != len(self.classes):
                raise ValueError(
                    f"{name} names {len(split.folders)} folders, the target has {len(self.classes)} classes"
                )
            for file in single_files(split):
                if isinstance(file, ParquetFile) and file.most_classes not in (None, len(self.classes)):
                    raise ValueError(
                        f"{file.location} of {name} has labels of {file.most_classes} classes, the target has "
                        f"{len(self.classes)}"
                    )
        return self


def without_clusters(target: Target) -> Target:
    """The same images and classes, whatever is said of which test images belong together."""
    splits = target.splits
    plain = splits.model_copy(
        update={
            "test": splits.test.model_copy(update={"cluster": None}),
            "further_tests": {
                name: split.model_copy(update={"cluster": None}) for name, split in splits.further_tests.items()
            },
        }
    )
    return target.model_copy(update={"splits": plain})


Origin = Literal["real", "synthetic", "unknown"]
FewWords = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]
"""Verdicts repeat them."""


class Lineage(Strict):
    """Where images come from, as whoever brings them declares it. It decides no result; verdicts repeat it."""

    origin: Annotated[Origin, WhenSet] = "unknown"
    """`real`: photographs or drawings. `synthetic`: a generator's output."""
    made_by: Annotated[FewWords, WhenSet] = ""
    """Of synthetic images: the generator's name and version."""
    trained_on: Annotated[FewWords, WhenSet] = ""
    """Of synthetic images: what the generator was trained on, the name of a registered upstream where it is one.
    Left out: not known."""

    @model_validator(mode="after")
    def _only_synthetic_images_have_a_generator(self) -> Self:
        for field in ("made_by", "trained_on"):
            if getattr(self, field) and self.origin != "synthetic":
                raise ValueError(f"{field} tells of a generator, but the origin is {self.origin}: say synthetic")
        return self


class Dataset(Posted, Lineage):
    """Labelled images for the classes of a target that somebody brings: bought, collected, labelled by hand, made
    elsewhere. An arm of kind `given` trains on them."""

    name: Name
    target: Name
    """Whose class ids its images carry."""
    images: TargetSplit
    most_losses: Annotated[MostLosses, WhenSet] = MOST_LOSSES
    """Share of the images that may be refused at ingest; where more are, the ingest fails."""
    licence: str = Field(default="", max_length=200)
    description: LongText = ""


def without_lineage(dataset: Dataset) -> Dataset:
    """The same images, whatever is said of where they come from."""
    return dataset.model_copy(update=Lineage().model_dump())


class Upstream(Posted):
    """The general image-text collection real images are retrieved from."""

    name: Name
    shards: Annotated[tuple[UpstreamShard, ...], FailFast()] = Field(min_length=1, max_length=10_000)
    index_encoder: Name
    """The encoder whose embeddings are searched."""
    most_losses: Annotated[MostLosses, WhenSet] = MOST_LOSSES
    """Share of a shard's images that may be refused at ingest; where more are, the ingest fails. Links have no limit:
    each arm tells what its downloads gave."""
    placeholder_links: Annotated[PlaceholderLinks, WhenSet] = PLACEHOLDER_LINKS
    """Of links: a picture that so many links lead to, of one class or of all classes of an arm, is a placeholder for
    images that are gone, and is left out. The same bytes and near-identical pictures count as one."""
    licence: Annotated[str, WhenSet] = Field(default="", max_length=200)
    """Of its images, e.g. CC-BY-4.0; data cards of exported training sets repeat it."""
    description: LongText = ""

    @property
    def images(self) -> int:
        return sum(shard.images for shard in self.shards)

    @property
    def has_links(self) -> bool:
        """Its images are downloaded after retrieval."""
        return isinstance(self.shards[0], LinkTable)

    @property
    def searches_images(self) -> bool:
        """Whether it has embeddings of its images; those of links come with the table or not at all."""
        return not isinstance(self.shards[0], LinkTable) or self.shards[0].image_embeddings is not None

    @model_validator(mode="after")
    def _all_links_or_none(self) -> Self:
        if len({isinstance(shard, LinkTable) for shard in self.shards}) != 1:
            raise ValueError("an upstream has images or links, not both: register two upstreams")
        without = [shard for shard in self.shards if isinstance(shard, LinkTable) and shard.image_embeddings is None]
        if without and len(without) < len(self.shards):
            raise ValueError(
                f"{len(without)} of {len(self.shards)} tables of links have no image embeddings, such as "
                f"{without[0].location}: give each its own, or none any"
            )
        return self


Entry = Upstream | Target | Encoder | Generator | Dataset
"""What can be registered."""


class Catalogue(Strict):
    """A file of things to register, as `miniverse/catalogue.yaml` is."""

    encoders: tuple[Encoder, ...] = ()
    generators: tuple[Generator, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    targets: tuple[Target, ...] = ()
    datasets: tuple[Dataset, ...] = ()
