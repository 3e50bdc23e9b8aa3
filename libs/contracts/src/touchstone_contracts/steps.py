"""The step catalogue: every kind of queued work, with its queue, request, result and time limit.

Requests name their inputs by step id; a worker reads an input's manifest from the object store. Nothing in a request
depends on who asks, so experiments share steps."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from touchstone_contracts.account import MOST_LOSSES, Account, MostLosses, Named, NamedByReason
from touchstone_contracts.adaptation import Evaluation, Metric
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.arms.labelled import LabelTable
from touchstone_contracts.arms.mixture import Mixing
from touchstone_contracts.arms.perturbation import PerturbationPrompt
from touchstone_contracts.arms.prompts import LanguageModel
from touchstone_contracts.arms.retrieval import Strategy
from touchstone_contracts.arms.tuning import LoraSettings
from touchstone_contracts.catalogue import (
    MAIN_TEST_SET,
    ClassCount,
    ClassLabel,
    ColumnName,
    Encoder,
    EncoderKind,
    Generator,
    Lineage,
    LinkTable,
    PlaceholderLinks,
    Source,
    TargetSplit,
    Template,
    UpstreamShard,
)
from touchstone_contracts.curation import Curation, CurationCounts, CurationReport, HeldOut
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.facts import Fact, Facts, identity_form
from touchstone_contracts.families import GeneratorFamily
from touchstone_contracts.identity import identity_text, sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.inputs import Indirect
from touchstone_contracts.label_card import LabelCard
from touchstone_contracts.layout import Adaptation, PlanLayout
from touchstone_contracts.locations import Layout, LinkChoices, Locations
from touchstone_contracts.problems import Problem
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.search import SearchHit, SearchIn
from touchstone_contracts.source_probe import SourceProbe
from touchstone_contracts.sources import Host
from touchstone_contracts.values import (
    MOST_CLASSES,
    Blob,
    Digest,
    Lenient,
    Name,
    StepId,
    Strict,
    WhenSet,
    is_empty,
    is_none,
)

RequestT = TypeVar("RequestT", bound=Strict)
ResultT = TypeVar("ResultT", bound=Lenient)


@dataclass(frozen=True)
class Contract(Generic[RequestT, ResultT]):
    """A kind of work. Raise `version` when the same request would give another result."""

    name: str
    version: int
    queue: str
    """Whose work it is: every worker of this queue serves the contract, in the versions that it knows."""
    request: type[RequestT]
    result: type[ResultT]
    names_facts: bool = True
    """Whether stored requests name their facts; those of versions before there were any hold them."""

    @property
    def channel(self) -> str:
        """The broker's list for messages of this version: a worker that does not know it never takes one."""
        return channel_of(self.name, self.version)

    def step_id(self, request: RequestT, facts: Facts | None = None) -> StepId:
        asked = identity_form(request, facts or Facts()) if self.names_facts else identity_text(request)
        return sha256(f'{{"kind":"{self.name}","request":{asked},"version":{self.version}}}'.encode())


def channel_of(kind: str, version: int) -> str:
    return f"{kind}.{version}"


class ModelRef(Strict):
    """The facts about a model that decide a result: its location and digest, not its name."""

    model: str
    digest: Digest | None = None
    kind: Annotated[EncoderKind, WhenSet] = "clip"
    """Of an encoder: what loads it."""
    family: Annotated[GeneratorFamily | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Of a generator: what it is registered as."""

    @classmethod
    def of(cls, model: Encoder | Generator) -> "ModelRef":
        if isinstance(model, Encoder):
            return cls(model=model.model, digest=model.digest, kind=model.kind)
        return cls(model=model.model, digest=model.digest, family=model.family)


class DescribeSource(Strict):
    """What lies at locations, written down so that it can be registered. Files that were found are not read again
    because they are known: what lies there may change."""

    form: Literal["upstream", "target", "dataset"]
    locations: dict[str, Locations]
    """By split of a target. Under an empty name: all there is."""
    layout: Layout | None = None
    classes: tuple[str, ...] = Field(default=(), max_length=MOST_CLASSES)
    """Display names in the order of ids, where they are given."""
    columns: Annotated[dict[str, ColumnName], WhenSet] = Field(default={}, exclude_if=is_empty)
    """What a column holds -> its name, where the usual names do not say it."""
    links: Annotated[LinkChoices, WhenSet] = Field(default=LinkChoices(), exclude_if=LinkChoices().__eq__)
    """Of an upstream of links."""
    asked: str = Field(max_length=100)
    """Of which request it is an answer: nobody else shares it."""


class SourceDescribed(Lenient):
    """The parts of a document of the catalogue; see contracts/locations.py."""

    shards: tuple[UpstreamShard, ...] = ()
    splits: dict[str, TargetSplit] = Field(default_factory=dict)
    """By name. The images of a data set: under an empty name."""
    classes: tuple[str, ...] = ()
    """Display names in the order of ids, as they were given or found."""
    notes: tuple[str, ...] = ()
    """What was left out, in words."""


class IngestImages(Strict):
    """Of a link table the rows alone: an image set without bytes (image_sets.COLUMNS)."""

    labels_as_found: ClassVar[bool] = False
    """Whether labels beside captions make a source a target, though neither it nor `classes` says so."""

    source: Source
    most_losses: Annotated[MostLosses, WhenSet] = Field(default=MOST_LOSSES, exclude_if=MOST_LOSSES.__eq__)
    """Share of its images that may be refused."""
    classes: Annotated[ClassCount | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Of labelled images whose source does not say it: how many classes the target has. Images of others are refused.
    None: every number is taken."""


class IngestAsFound(IngestImages):
    """Of versions before 5, which took an upstream with labels for a target."""

    labels_as_found: ClassVar[bool] = True


class IngestWhatIsLeft(IngestAsFound):
    """Of version 1, which had no limit."""

    most_losses: Annotated[MostLosses, WhenSet] = Field(default=1.0, exclude_if=(1.0).__eq__)


class ImagesIngested(Lenient):
    images: ImageSet
    account: Account | None = Field(default=None, exclude_if=is_none)
    """None in results of before there were accounts, of links before version 3. Of links, the rows that may be fetched
    are taken; downloads tell what became of those that were."""
    rejected: dict[str, int] = Field(default_factory=dict, exclude_if=is_empty)
    """Images refused by reason, in results of before there were accounts."""

    @property
    def told(self) -> Account | None:
        """The account, made of what there is where the result is from before there were any. None of links."""
        if self.account is not None or not self.images.shards:
            return self.account
        taken, refused = self.images.count, {reason: Named(count=count) for reason, count in self.rejected.items()}
        return Account(seen=taken + sum(self.rejected.values()), taken=taken, refused=refused)


class EmbedImages(Strict):
    images: StepId
    encoder: ModelRef
    captions: bool = False


class RowsCompared(Lenient):
    """How far given embeddings of a sample agree with those that the encoder computes."""

    of: Literal["images", "captions", "captions_with_images"]
    """Rows of images with the downloaded images; of captions with the captions; of images with the captions."""
    rows: int
    agreement: float
    """Median cosine after the mean of the given rows is subtracted; of captions with images the mean share of rows that
    fit a caption worse than its own, 0.5 by chance."""


class ImagesEmbedded(Lenient):
    """fp16 .npy arrays of shape (count, dimension), L2-normalised, rows in manifest order. A row that was not finite,
    or zero, is zero and takes no part in any search."""

    count: int
    dimension: int
    image_embeddings: Blob | None
    """None: of links whose table came without."""
    caption_embeddings: Blob | None = None
    unusable: NamedByReason = Field(default_factory=dict, exclude_if=is_empty)
    """Zero rows by reason: `unusable_image_embedding`, `unusable_caption_embedding`."""
    compared: tuple[RowsCompared, ...] | None = Field(default=None, exclude_if=is_none)
    """Of given embeddings: what was compared before they were taken over. None where they were computed."""

    @property
    def notes(self) -> NamedByReason:
        """What an account should tell of the rows."""
        given = self.compared is not None and self.image_embeddings is not None
        unseen = given and all(each.of == "captions" for each in self.compared or ())
        return self.unusable | ({"embeddings_not_compared": Named(count=self.count)} if unseen and self.count else {})


class TakeEmbeddings(Strict):
    """Used instead of EmbedImages for tables of links: takes the embeddings that came with them, and computes those of
    captions where none came."""

    images: StepId
    table: LinkTable
    encoder: ModelRef
    """Whose embeddings they are: a sample is compared with what it computes."""
    hosts: Annotated[tuple[Host, ...] | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Patterns of hosts that a sample of the images may be downloaded from, beside what the worker itself allows. None:
    it alone decides."""


class EmbeddedShard(Strict):
    images: StepId
    embeddings: StepId


class IndexUpstream(Strict):
    shards: Annotated[tuple[EmbeddedShard, ...], Fact] = Field(min_length=1)


class UpstreamIndexed(Lenient):
    """The collection is a cache: it is rebuilt from the shards whenever the index has lost it."""

    collection: str
    count: int


class NameClasses(Strict):
    """Which of its names each class is called by most, in the captions of the upstream."""

    images: Annotated[tuple[StepId, ...], Fact] = Field(min_length=1)
    classes: Annotated[tuple[ClassLabel, ...], Fact]


class ClassesNamed(Lenient):
    """By class id."""

    names: tuple[str, ...]
    captions: tuple[dict[str, int], ...]
    """How many hold each name of a class."""


class RetrieveImages(Strict):
    index: StepId
    shards: Annotated[tuple[EmbeddedShard, ...], Fact, Indirect] = Field(min_length=1)
    """Those that `index` indexed."""
    encoder: ModelRef
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    strategy: Strategy
    seed: int
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""


class ImagesFound(Lenient):
    """Candidates of one arm before curation."""

    images: ImageSet
    requested: int
    rejected: dict[str, int] = Field(default_factory=dict)
    notes: dict[str, int] = Field(default_factory=dict)
    """Fact -> images it holds for, e.g. `prompt_truncated`."""


class ImagesRetrieved(ImagesFound):
    searched: Blob | None = Field(default=None, exclude_if=is_none)
    """Parquet, a row for each query of words: class_id, query, searched (the words that were looked for, or the
    pattern), captions (found, at most as many as the strategy asks for)."""


class SearchUpstream(Strict):
    """The images of an upstream nearest to a text, an image or one of its own. One of the three is given."""

    shards: Annotated[tuple[EmbeddedShard, ...], Fact] = Field(min_length=1)
    """Those that are searched, all embedded by `encoder`."""
    encoder: ModelRef
    text: str | None = None
    image: Annotated[str | None, Fact] = None
    """Its encoded bytes in base64."""
    like: str | None = None
    """The id of an image of the shards."""
    search_in: SearchIn
    limit: int


class UpstreamSearched(Lenient):
    hits: tuple[SearchHit, ...]
    """Best first, equal scores in the upstream's order, each image once."""
    images: int
    """Rows that were searched."""


class FindLabelled(Strict):
    """The upstream images that a table says are of a class of the target."""

    upstream: Annotated[tuple[StepId, ...], Fact] = Field(min_length=1)
    """Its image sets."""
    labels: LabelTable
    target: Name
    """As the table calls it."""
    classes: int = Field(ge=2)
    """Of the target."""


class DownloadImages(Strict):
    """The images of one class behind retrieved links.

    Rows of `wanted` first; for each that cannot be had the next row of `reserve`, until as many images are obtained as
    `wanted` has rows or the reserve ends."""

    wanted: StepId
    reserve: StepId
    """The same retrieval asked for more."""
    class_id: int = Field(ge=0)
    hosts: Annotated[tuple[Host, ...] | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Patterns of hosts that links may lead to, beside what the worker itself allows. None: it alone decides."""
    placeholder_links: Annotated[PlaceholderLinks | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """A picture that so many links of the class lead to is none of their images. None: however many do."""


class ImagesDownloaded(ImagesFound):
    """`requested`: rows wanted; `rejected`: why links gave no image, reserve included."""

    topped_up: int
    """Images that came from the reserve."""
    links: Blob
    """Parquet, a row per link tried, in order: url, reserve, outcome (`obtained` or the reason), sha256, bytes and,
    since version 2, the thumbnail of the picture that it leads to (null where it leads to none)."""


class WritePrompts(Strict):
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    images_per_class: int
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""


class PromptsWritten(Lenient):
    """Parquet with prompt_id, class_id, prompt, index: one row per image to generate."""

    prompts: Blob
    count: int
    notes: dict[str, int] = Field(default_factory=dict)
    """Fact -> prompts it holds for, e.g. `template_instead`."""


class WriteCaptions(Strict):
    """Captions in the paper's modes; the table also says each one's `mode` and `writer`."""

    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    """The grammar builds on these, and one of them replaces a caption that does not name its class."""
    images_per_class: int
    captions: LanguageModel
    seed: int
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""


class CollectCaptions(Strict):
    """Captions of the kept images of a curated pool; the table also says which image each is `caption_of`."""

    pool: StepId
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    images_per_class: int
    seed: int
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""


class TuneGenerator(Strict):
    """`images_per_class` of the images step `images` keeps; prompts are the templates filled with class names."""

    images: StepId
    images_per_class: int
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    generator: ModelRef
    image_size: int
    lora: LoraSettings
    seed: int
    class_id: Annotated[int | None, Field(ge=0), WhenSet] = Field(default=None, exclude_if=is_none)
    """The class whose images alone are taken; it may have none. None: those of all classes."""
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""


class GeneratorTuned(Lenient):
    """Tuned weights with their lineage: what they were added to, what they saw, and how."""

    weights: Blob | None
    """safetensors: a LoRA as diffusers loads it. None: the one class that was asked for has no image."""
    base_digest: Digest
    images: StepId
    image_ids: tuple[str, ...]
    lora: LoraSettings
    first_loss: float | None
    """Mean over the first tenth of the steps; None without weights."""
    last_loss: float | None
    """Mean over the last tenth."""


class TunedModel(Strict):
    """A generator with the weights a tuning step left."""

    base: ModelRef
    tuning: StepId


class GenerateImages(Strict):
    """Rows first..last-1 of a prompt table."""

    prompts: StepId
    first: int = Field(ge=0)
    last: int = Field(gt=0)
    generator: ModelRef | TunedModel
    image_size: int
    sampler: Sampler
    seed: int
    stored_size: Annotated[int | None, WhenSet] = None
    """Pixels, at most `image_size`. None: stored as sampled."""


class PerturbImages(Strict):
    """Share `part` of `parts` of the kept images of a curated pool, in its order; how many there are is not known
    before it is done. `templates` stand in for a missing caption."""

    pool: StepId
    part: int = Field(ge=0)
    parts: int = Field(ge=1)
    gamma: float = Field(ge=0, le=1)
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact] = Field(min_length=1)
    prompt: PerturbationPrompt
    generator: ModelRef
    image_size: int
    sampler: Sampler
    seed: int
    stored_size: Annotated[int | None, WhenSet] = None
    """Pixels, at most `image_size`. None: stored as sampled."""


class CurateImages(Strict):
    candidates: tuple[EmbeddedShard, ...] = Field(min_length=1)
    encoder: ModelRef
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    test: EmbeddedShard
    rules: Curation
    further_tests: Annotated[tuple[EmbeddedShard, ...], WhenSet] = ()
    """Leaks from them count as leaks from `test`, whose images they join."""
    copy_embeddings: Annotated[tuple[StepId, ...], WhenSet] = ()
    """Embeddings of each candidate set that compare images with images; left out: those of `candidates`."""
    validation: Annotated[EmbeddedShard | None, WhenSet] = None
    upstream: Annotated[tuple[EmbeddedShard, ...], WhenSet, Fact] = ()
    """Where the rules compare synthetic images with it. The tests, `validation` and `upstream` are embedded alike."""
    placeholder_links: Annotated[PlaceholderLinks | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Of candidates that were downloaded: a picture that so many links of all of them lead to is dropped. None: however
    many do."""


class ImagesCurated(Lenient):
    """The manifest holds every candidate with score, kept, reason; only kept rows may be trained on."""

    images: ImageSet
    counts: CurationCounts
    kept_by_class: tuple[int, ...]
    """Kept images per class id."""
    report: CurationReport | None = None


class MixPools(Strict):
    """Curated pools of one target side by side, in the order of a mixture's parts; a run says how much of each.

    The result is a curated pool: column `part` holds the pool's position, and an image that an earlier pool keeps for
    the same class is dropped from later ones as a near-duplicate."""

    pools: tuple[StepId, ...] = Field(min_length=2)


class AuditPool(Strict):
    """Measures the labels of a curated pool; nothing is dropped."""

    pool: StepId
    embedded: tuple[EmbeddedShard, ...] = Field(min_length=1)
    """Every candidate of the pool, by `judge` or, without one, by the encoder that scored them."""
    judge: ModelRef | None
    test: EmbeddedShard | None
    """The target's test images, embedded as the candidates are; None: nothing is compared with them."""
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    sizes: tuple[int, ...]
    rules: Annotated[Curation, Fact]
    """Ranking and balance decide how many images of a class make up a size."""
    mixing: Mixing | None = None


class PoolAudited(Lenient):
    card: LabelCard


class AdaptEncoder(Strict):
    pool: StepId
    size: int = Field(ge=1)
    seed: int
    learning_rate: float | None
    """None for a recipe without one."""
    recipe: Recipe
    rules: Annotated[Curation, Fact]
    """Ranking and balance decide which images of the pool make up `size`."""
    encoder: ModelRef
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    validation: StepId
    mixing: Annotated[Mixing | None, WhenSet] = None
    """How much of each part of a mixed pool; None takes the pool as one."""
    target_pool: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Curated images of the target's own training split, where the recipe asks for some."""
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""
    draw_seed: Annotated[int | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """Draws the training set; None: `seed` does, as it does everything else."""

    @property
    def subset_seed(self) -> int:
        return self.seed if self.draw_seed is None else self.draw_seed


class EpochScore(Lenient):
    epoch: int
    train_loss: float
    validation_accuracy: float


class EpochsSoFar(Lenient):
    """What a training that has not finished tells of itself every few seconds."""

    epochs: tuple[EpochScore, ...]
    """Of the stage that it is in."""
    planned: int
    """Epochs of that stage in all."""


class EncoderAdapted(Lenient):
    """`weights` is None where the pool holds fewer than `size` images: the arm is exhausted there."""

    available: int
    """Images in the pool; of a mixture the largest size no part is too small for."""
    weights: Blob | None
    """safetensors: image tower and head, of the epoch with the best validation accuracy; a frozen tower is left out."""
    training_set: Digest | None = None
    """identity of the ordered image ids that were trained on."""
    images: int | None = None
    """Images trained on, where a mixture adds to the size."""
    updates: int = 0
    peak_lr_fraction: float | None = 0.0
    """None without a learning rate."""
    mixing_weight: float | None = None
    """Share of the class means in the head, chosen on validation; `head_only` alone has one."""
    best_epoch: int = 0
    epochs: tuple[EpochScore, ...] = ()
    """Of a recipe of two stages those of the second, whose weights are kept."""
    first_stage: tuple[EpochScore, ...] = Field(default=(), exclude_if=is_empty)


class EvaluateEncoder(Strict):
    """Tests the learning rate with the best mean validation accuracy over all seeds, once.

    No adaptations: the untouched encoder."""

    adaptations: tuple[Adaptation, ...]
    seed: int
    encoder: ModelRef
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    train: StepId | None
    validation: StepId
    test: StepId
    evaluation: Evaluation
    further_tests: Annotated[dict[Name, StepId], WhenSet] = Field(default={})
    """By the test set's name."""
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""

    @property
    def tests(self) -> dict[str, StepId]:
        return {MAIN_TEST_SET: self.test} | self.further_tests


class Predictions(Lenient):
    """int32 .npy of shape (test images,): predicted class ids, in the order of the test manifest."""

    classes: Blob
    accuracy: float
    """Micro: over images."""
    macro_accuracy: float | None = None
    """Mean over the classes that have test images."""
    top5_accuracy: float | None = None
    calibration_error: float | None = None
    """Expected calibration error of the predicted class's probability, in 15 bins of equal width."""
    regularisation: float | None = None
    """C of the regularised probe that validation chose."""


class Tested(Lenient):
    """What one test set says of an encoder."""

    predictions: dict[str, Predictions] = Field(default_factory=dict)
    """By metric."""
    labels: Blob | None = None
    """int32 .npy: true class ids."""


class EncoderEvaluated(Tested):
    available: int | None = None
    """Images in the pool; set where the arm was exhausted at this size, then `predictions` is empty."""
    learning_rate: float | None = None
    peak_lr_fraction: float | None = None
    updates: int | None = None
    best_epoch: int | None = None
    validation_accuracy: float | None = None
    training_set: Digest | None = None
    further_tests: dict[str, Tested] = Field(default_factory=dict)
    """By the test set's name; the main one's figures stand here."""

    @property
    def tests(self) -> dict[str, Tested]:
        """Every test set by its name."""
        return {MAIN_TEST_SET: self} | self.further_tests


class DrawnParts(Strict):
    """Of a mixture."""

    parts: tuple[Name, ...]
    """Arms, in the order of the amounts."""
    mixing: Mixing


class Drawing(Strict):
    """How a seed draws a training set from a pool."""

    ranking: Literal["random", "score"]
    balance: Literal["stratified", "uniform"]
    mixtures: dict[Name, DrawnParts] = Field(default={})
    """By arm."""


class GivenImages(Lineage):
    """A data set that an arm of the comparison trains on, or is made from."""

    arm: Name
    dataset: Name


class ProbeSources(Strict):
    """Whether the images of two arms can be told apart, and whether encoders adapted on them rely on what does it.

    Of each arm the run is probed that `seed` tests at one size."""

    pools: tuple[StepId, StepId]
    """Curated pools of the arms."""
    adaptations: tuple[tuple[Adaptation, ...], tuple[Adaptation, ...]]
    """Their grids at that size."""
    seed: int
    encoder: ModelRef
    classes: Annotated[tuple[ClassLabel, ...], Fact]
    templates: Annotated[tuple[Template, ...], Fact]
    test: StepId
    names: Annotated[StepId | None, WhenSet] = Field(default=None, exclude_if=is_none)
    """What chose the names of the classes; None: they are called as they are registered."""


class SourcesProbed(Lenient):
    probe: SourceProbe | None
    """None: the arms have too few images of the same classes."""


class CheckTarget(Strict):
    """Whether the splits of a target can be a fair test, which only their images tell."""

    classes: Annotated[tuple[ClassLabel, ...], Fact]
    test: StepId
    validation: StepId
    train: StepId | None = None
    further_tests: dict[Name, StepId] = Field(default={})


class SharedImages(Lenient):
    """Images that two splits have in common, byte by byte."""

    splits: tuple[str, str]
    images: int


class SplitFacts(Lenient):
    split: str
    absent: tuple[int, ...] = ()
    """Ids of the classes that it has no image of."""
    in_two_classes: int = 0
    """Images that it has in more than one class, byte by byte."""


class TargetChecked(Lenient):
    """What a reader of a verdict should know; empty where there is nothing."""

    shared: tuple[SharedImages, ...] = ()
    splits: tuple[SplitFacts, ...] = ()


class CompareSplits(Strict):
    """Which images of a target's splits look alike without being the same file: as curation looks for leaks."""

    splits: dict[Name, EmbeddedShard]
    """By name, all embedded alike."""
    cosine: float
    """Images at least this similar look alike."""
    left_out: tuple[Name, ...] = ()
    """Splits too large to be compared."""


class AlikeImages(Lenient):
    splits: tuple[str, str]
    images: int
    """Of the first split."""


class SplitsCompared(Lenient):
    """Images that are in both splits, or both classes, byte by byte are not counted: check_target does."""

    cosine: float
    alike: tuple[AlikeImages, ...] = ()
    in_two_classes: dict[str, int] = Field(default_factory=dict)
    """By split, where there are any: images that look like one of another class."""
    left_out: tuple[str, ...] = ()


class JudgeExperiment(Strict):
    """Everything that decides a verdict, but for the measurements themselves."""

    layout: PlanLayout
    targets: tuple[Name, ...]
    metrics: tuple[Metric, ...]
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    """All that the experiment asks for."""
    arms: tuple[Name, ...]
    """Those that train and are judged."""
    untouched: Name | None
    """The arm of the encoder as it is."""
    comparison: Comparison | None
    """None: fewer than two arms train, there is a table of results and nothing to judge."""
    leaks_checked: bool
    """Whether images that resemble a test image were looked for among the training images."""
    left_out: tuple[Name, ...] = ()
    """Arms that train and were not waited for."""
    upstream_arm: Annotated[Name | None, WhenSet] = None
    """Whose pool says how many images upstream has of each class; None: no judged arm looks for them."""
    draw_seeds: Annotated[tuple[int, ...], WhenSet] = ()
    """Of each seed; left out: every seed has draws of its own."""
    optimisation_seeds: Annotated[tuple[int, ...], WhenSet] = ()
    """Likewise."""
    first_seeds: int | None = None
    """Judge the arms compared on so many of `seeds` alone, while the others are still to come. None: on all."""
    paired: Annotated[bool, WhenSet] = False
    """A seed draws mostly the same images, or images made from the same ones, for both arms compared."""
    drawing: Annotated[Drawing | None, WhenSet] = None
    """None: how much the seeds of an arm have in common is not said."""
    given: Annotated[tuple[GivenImages, ...], WhenSet] = ()
    """Images of the comparison that were made elsewhere."""
    unchecked: Annotated[tuple[HeldOut, ...], WhenSet] = ()
    """Splits whose images curation did not look for among the training images: exact copies are counted."""
    copies_in: Annotated[tuple[Name, ...], WhenSet] = ()
    """Arms whose images are searched for those of `unchecked`; left out: the two compared."""
    upstream: Annotated[Name | None, WhenSet] = None
    """What their lineage is compared with: the experiment's upstream. None where nothing was given."""
    movement: Annotated[bool, WhenSet] = False
    """Whether the verdict says where training hardly changed the answers of the encoder."""


class ExperimentJudged(Lenient):
    """JSON documents of views.py, each without the experiment's id: several experiments may share them."""

    results_digest: Digest
    results: Blob | None = None
    """Results; None where only some seeds were judged, as is `scaling`."""
    scaling: Blob | None = None
    verdict: Blob | None = None
    """Verdict, without costs, which are not part of what was measured."""
    problem: Problem | None = None
    """Why there is no verdict and never will be: the arms reached no common size, or nothing is compared."""
    headline: str | None = None
    """Of the verdict, for lists of experiments."""


DESCRIBE_SOURCE = Contract("describe_source", 1, "retrieval", DescribeSource, SourceDescribed)
INGEST_IMAGES = Contract("ingest_images", 5, "retrieval", IngestImages, ImagesIngested)
EMBED_IMAGES = Contract("embed_images", 2, "retrieval", EmbedImages, ImagesEmbedded)
TAKE_EMBEDDINGS = Contract("take_embeddings", 2, "retrieval", TakeEmbeddings, ImagesEmbedded)
INDEX_UPSTREAM = Contract("index_upstream", 2, "retrieval", IndexUpstream, UpstreamIndexed)
NAME_CLASSES = Contract("name_classes", 2, "retrieval", NameClasses, ClassesNamed)
RETRIEVE_IMAGES = Contract("retrieve_images", 4, "retrieval", RetrieveImages, ImagesRetrieved)
SEARCH_UPSTREAM = Contract("search_upstream", 1, "retrieval", SearchUpstream, UpstreamSearched)
FIND_LABELLED = Contract("find_labelled", 1, "retrieval", FindLabelled, ImagesFound)
DOWNLOAD_IMAGES = Contract("download_images", 2, "retrieval", DownloadImages, ImagesDownloaded)
CURATE_IMAGES = Contract("curate_images", 3, "retrieval", CurateImages, ImagesCurated)
MIX_POOLS = Contract("mix_pools", 1, "retrieval", MixPools, ImagesCurated)
AUDIT_POOL = Contract("audit_pool", 2, "retrieval", AuditPool, PoolAudited)
WRITE_PROMPTS = Contract("write_prompts", 2, "generator", WritePrompts, PromptsWritten)
WRITE_CAPTIONS = Contract("write_captions", 3, "generator", WriteCaptions, PromptsWritten)
COLLECT_CAPTIONS = Contract("collect_captions", 2, "generator", CollectCaptions, PromptsWritten)
TUNE_GENERATOR = Contract("tune_generator", 2, "generator", TuneGenerator, GeneratorTuned)
GENERATE_IMAGES = Contract("generate_images", 1, "generator", GenerateImages, ImagesFound)
PERTURB_IMAGES = Contract("perturb_images", 2, "generator", PerturbImages, ImagesFound)
ADAPT_ENCODER = Contract("adapt_encoder", 3, "trainer", AdaptEncoder, EncoderAdapted)
EVALUATE_ENCODER = Contract("evaluate_encoder", 2, "trainer", EvaluateEncoder, EncoderEvaluated)
COMPARE_SPLITS = Contract("compare_splits", 1, "retrieval", CompareSplits, SplitsCompared)
PROBE_SOURCES = Contract("probe_sources", 1, "trainer", ProbeSources, SourcesProbed)
CHECK_TARGET = Contract("check_target", 1, "judge", CheckTarget, TargetChecked)
JUDGE_EXPERIMENT = Contract("judge_experiment", 2, "judge", JudgeExperiment, ExperimentJudged)

AnyContract = Contract[Any, Any]
CATALOGUE: dict[str, AnyContract] = {
    contract.name: contract
    for contract in (
        DESCRIBE_SOURCE,
        INGEST_IMAGES,
        EMBED_IMAGES,
        TAKE_EMBEDDINGS,
        INDEX_UPSTREAM,
        NAME_CLASSES,
        RETRIEVE_IMAGES,
        SEARCH_UPSTREAM,
        FIND_LABELLED,
        DOWNLOAD_IMAGES,
        CURATE_IMAGES,
        MIX_POOLS,
        AUDIT_POOL,
        WRITE_PROMPTS,
        WRITE_CAPTIONS,
        COLLECT_CAPTIONS,
        TUNE_GENERATOR,
        GENERATE_IMAGES,
        PERTURB_IMAGES,
        ADAPT_ENCODER,
        EVALUATE_ENCODER,
        PROBE_SOURCES,
        CHECK_TARGET,
        COMPARE_SPLITS,
        JUDGE_EXPERIMENT,
    )
}
"""What is planned today."""


_HELD_FACTS: tuple[AnyContract, ...] = (
    INDEX_UPSTREAM,
    replace(RETRIEVE_IMAGES, version=3),
    CURATE_IMAGES,
    WRITE_PROMPTS,
    replace(WRITE_CAPTIONS, version=2),
    COLLECT_CAPTIONS,
    TUNE_GENERATOR,
    PERTURB_IMAGES,
    ADAPT_ENCODER,
    EVALUATE_ENCODER,
)
EARLIER: dict[str, AnyContract] = {
    earlier.channel: earlier
    for earlier in (
        *(replace(contract, version=contract.version - 1, names_facts=False) for contract in _HELD_FACTS),
        replace(JUDGE_EXPERIMENT, version=1),
        replace(INGEST_IMAGES, version=1, request=IngestWhatIsLeft),
        replace(NAME_CLASSES, version=1),
        replace(RETRIEVE_IMAGES, version=3),
        replace(AUDIT_POOL, version=1),
        replace(WRITE_CAPTIONS, version=2),
        *(replace(INGEST_IMAGES, version=version, request=IngestAsFound) for version in (2, 3, 4)),
        replace(DOWNLOAD_IMAGES, version=1),
        replace(EMBED_IMAGES, version=1),
        replace(TAKE_EMBEDDINGS, version=1),
    )
}
"""By channel: versions that are still served and no longer planned. The same requests, from before they named facts;
judgements from before a comparison said where its spread between seeds comes from, which is `own` there, and before
verdicts gave chances of a decision and took targets as a sample; ingests from before there was a limit of what may
be refused, from before tables of links had an account, from before they knew how many classes a target has, and from
before an upstream with labels stayed an upstream; and downloads from before they recorded thumbnails. Their sources are
read as they are today (decision 0058), and so are words (decision 0064) and embeddings of before unusable rows were
told of and given ones compared (decision 0061)."""
QUEUES: tuple[str, ...] = ("retrieval", "generator", "trainer", "judge")


def contract_of(kind: str, version: int) -> AnyContract | None:
    """None where this release serves no such version."""
    current = CATALOGUE.get(kind)
    return current if current and current.version == version else EARLIER.get(channel_of(kind, version))


def every_contract() -> tuple[AnyContract, ...]:
    """In every version that this release serves, those of today first."""
    return (*CATALOGUE.values(), *EARLIER.values())


def served_by(queue: str) -> tuple[AnyContract, ...]:
    """Every contract of `queue`."""
    return tuple(contract for contract in every_contract() if contract.queue == queue)
