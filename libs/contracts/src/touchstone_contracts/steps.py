"""The step catalogue: every kind of queued work, with its queue, request, result and time limit.

Requests name their inputs by step id; a worker reads an input's manifest from the object store. Nothing in a request
depends on who asks, so experiments share steps."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from pydantic import Field

from touchstone_contracts.adaptation import Evaluation, Recipe
from touchstone_contracts.arms.generation import Sampler
from touchstone_contracts.arms.retrieval import Strategy
from touchstone_contracts.catalogue import ClassLabel, Encoder, Generator, ImageSource, Template
from touchstone_contracts.curation import Curation, CurationCounts
from touchstone_contracts.identity import identity
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.values import Blob, Digest, Lenient, StepId, Strict

RequestT = TypeVar("RequestT", bound=Strict)
ResultT = TypeVar("ResultT", bound=Lenient)


@dataclass(frozen=True)
class Contract(Generic[RequestT, ResultT]):
    """A kind of work. Raise `version` when the same request would give another result."""

    name: str
    version: int
    queue: str
    request: type[RequestT]
    result: type[ResultT]
    time_limit: timedelta

    def step_id(self, request: RequestT) -> StepId:
        return identity({"kind": self.name, "version": self.version, "request": request})


class ModelRef(Strict):
    """The facts about a model that decide a result: its place and digest, not its name."""

    model: str
    digest: Digest | None = None

    @classmethod
    def of(cls, model: Encoder | Generator) -> "ModelRef":
        return cls(model=model.model, digest=model.digest)


class IngestImages(Strict):
    source: ImageSource


class ImagesIngested(Lenient):
    images: ImageSet
    rejected: dict[str, int] = Field(default_factory=dict)
    """Reason -> images refused: undecodable, too large, ..."""


class EmbedImages(Strict):
    images: StepId
    encoder: ModelRef
    captions: bool = False


class ImagesEmbedded(Lenient):
    """fp16 .npy arrays of shape (count, dimension), L2-normalised, rows in manifest order."""

    count: int
    dimension: int
    image_embeddings: Blob
    caption_embeddings: Blob | None = None


class EmbeddedShard(Strict):
    images: StepId
    embeddings: StepId


class IndexUpstream(Strict):
    shards: tuple[EmbeddedShard, ...] = Field(min_length=1)


class UpstreamIndexed(Lenient):
    """The collection is a cache: it is rebuilt from the shards whenever the index has lost it."""

    collection: str
    count: int


class RetrieveImages(Strict):
    index: StepId
    shards: tuple[EmbeddedShard, ...] = Field(min_length=1)
    encoder: ModelRef
    classes: tuple[ClassLabel, ...]
    templates: tuple[Template, ...]
    strategy: Strategy
    seed: int


class ImagesFound(Lenient):
    """Candidates of one arm before curation."""

    images: ImageSet
    requested: int
    rejected: dict[str, int] = Field(default_factory=dict)


class WritePrompts(Strict):
    classes: tuple[ClassLabel, ...]
    templates: tuple[Template, ...]
    images_per_class: int


class PromptsWritten(Lenient):
    """Parquet with prompt_id, class_id, prompt, index: one row per image to generate."""

    prompts: Blob
    count: int


class GenerateImages(Strict):
    """Rows first..last-1 of a prompt table."""

    prompts: StepId
    first: int = Field(ge=0)
    last: int = Field(gt=0)
    generator: ModelRef
    image_size: int
    sampler: Sampler
    seed: int


class CurateImages(Strict):
    candidates: tuple[EmbeddedShard, ...] = Field(min_length=1)
    encoder: ModelRef
    classes: tuple[ClassLabel, ...]
    templates: tuple[Template, ...]
    test: EmbeddedShard
    rules: Curation


class ImagesCurated(Lenient):
    """The manifest holds every candidate with score, kept, reason; only kept rows may be trained on."""

    images: ImageSet
    counts: CurationCounts
    kept_by_class: tuple[int, ...]
    """Kept images per class id."""


class AdaptEncoder(Strict):
    pool: StepId
    size: int = Field(ge=1)
    seed: int
    learning_rate: float
    recipe: Recipe
    rules: Curation
    """Ranking and balance decide which images of the pool make up `size`."""
    encoder: ModelRef
    classes: tuple[ClassLabel, ...]
    templates: tuple[Template, ...]
    validation: StepId


class EpochScore(Lenient):
    epoch: int
    train_loss: float
    validation_accuracy: float


class EncoderAdapted(Lenient):
    """`weights` is None where the pool holds fewer than `size` images: the arm is exhausted there."""

    available: int
    weights: Blob | None
    """safetensors: the image tower and head of the epoch with the best validation accuracy."""
    training_set: Digest | None = None
    """identity of the ordered image ids that were trained on."""
    updates: int = 0
    peak_lr_fraction: float = 0.0
    best_epoch: int = 0
    epochs: tuple[EpochScore, ...] = ()


class Adaptation(Strict):
    """One cell of the (learning rate x seed) grid of an arm at a size."""

    learning_rate: float
    seed: int
    step: StepId


class EvaluateEncoder(Strict):
    """Tests the learning rate with the best mean validation accuracy over all seeds, once.

    No adaptations: the untouched encoder."""

    adaptations: tuple[Adaptation, ...]
    seed: int
    encoder: ModelRef
    classes: tuple[ClassLabel, ...]
    templates: tuple[Template, ...]
    train: StepId | None
    validation: StepId
    test: StepId
    evaluation: Evaluation


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


class EncoderEvaluated(Lenient):
    available: int | None = None
    """Images in the pool; set where the arm was exhausted at this size, then `predictions` is empty."""
    learning_rate: float | None = None
    peak_lr_fraction: float | None = None
    best_epoch: int | None = None
    validation_accuracy: float | None = None
    training_set: Digest | None = None
    predictions: dict[str, Predictions] = Field(default_factory=dict)
    """By metric."""
    labels: Blob | None = None
    """int32 .npy: true class ids."""


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


INGEST_IMAGES = Contract("ingest_images", 1, "retrieval", IngestImages, ImagesIngested, minutes(60))
EMBED_IMAGES = Contract("embed_images", 1, "retrieval", EmbedImages, ImagesEmbedded, minutes(60))
INDEX_UPSTREAM = Contract("index_upstream", 1, "retrieval", IndexUpstream, UpstreamIndexed, minutes(240))
RETRIEVE_IMAGES = Contract("retrieve_images", 1, "retrieval", RetrieveImages, ImagesFound, minutes(60))
CURATE_IMAGES = Contract("curate_images", 1, "retrieval", CurateImages, ImagesCurated, minutes(60))
WRITE_PROMPTS = Contract("write_prompts", 1, "generator", WritePrompts, PromptsWritten, minutes(60))
GENERATE_IMAGES = Contract("generate_images", 1, "generator", GenerateImages, ImagesFound, minutes(60))
ADAPT_ENCODER = Contract("adapt_encoder", 1, "trainer", AdaptEncoder, EncoderAdapted, minutes(240))
EVALUATE_ENCODER = Contract("evaluate_encoder", 1, "trainer", EvaluateEncoder, EncoderEvaluated, minutes(60))

CATALOGUE: dict[str, Contract] = {  # type: ignore[type-arg]  # the catalogue mixes all request types
    contract.name: contract
    for contract in (
        INGEST_IMAGES,
        EMBED_IMAGES,
        INDEX_UPSTREAM,
        RETRIEVE_IMAGES,
        CURATE_IMAGES,
        WRITE_PROMPTS,
        GENERATE_IMAGES,
        ADAPT_ENCODER,
        EVALUATE_ENCODER,
    )
}
QUEUES: tuple[str, ...] = ("retrieval", "generator", "trainer")
