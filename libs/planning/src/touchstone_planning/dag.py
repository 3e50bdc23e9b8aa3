"""The DAG of an experiment's steps, every step's identity known before anything runs, and how steps are added to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from touchstone_contracts.catalogue import (
    MAIN_TEST_SET,
    ClassFolders,
    Cluster,
    ClusterOfKey,
    Encoder,
    Generator,
    ImageFolder,
    LinkTable,
    ParquetFile,
    Source,
    Target,
    Upstream,
    UpstreamShard,
)
from touchstone_contracts.facts import Facts, stored_form
from touchstone_contracts.inputs import Remembered, inputs_of
from touchstone_contracts.layout import Cell
from touchstone_contracts.sources import Host
from touchstone_contracts.steps import (
    EARLIER,
    EMBED_IMAGES,
    INDEX_UPSTREAM,
    INGEST_IMAGES,
    TAKE_EMBEDDINGS,
    AnyContract,
    Contract,
    EmbeddedShard,
    EmbedImages,
    IndexUpstream,
    IngestImages,
    ModelRef,
    RequestT,
    TakeEmbeddings,
)
from touchstone_contracts.values import Name, StepId, Strict

from touchstone_planning.resolved import ResolvedExperiment


@dataclass(frozen=True)
class PlannedStep:
    id: StepId
    contract: AnyContract
    request: Strict
    stored: dict[str, Any]
    """The request as it is stored and sent."""
    inputs: tuple[StepId, ...]
    role: str
    """What the step is for here, e.g. `flags/synthetic/generate[0:128]`."""

    @property
    def kind(self) -> str:
        return self.contract.name


class Judgement(Strict):
    """A judge_experiment step."""

    step: StepId
    seeds: int
    """How many of the experiment's seeds it waits for."""
    complete: bool
    """Whether it waits for every arm."""


@dataclass
class Plan:
    """Steps in topological order, each once, and where to find what results are made of."""

    contracts: Mapping[str, AnyContract] = field(default_factory=dict)
    """By kind: what a release before planned with instead of today's contracts."""
    facts: Facts = field(default_factory=Facts)
    """What the stored requests name by digest."""
    _inputs: Remembered = field(default_factory=dict)
    _models: dict[int, tuple[Encoder | Generator, ModelRef]] = field(default_factory=dict)
    _steps: dict[StepId, PlannedStep] = field(default_factory=dict)
    evaluations: dict[Cell, StepId] = field(default_factory=dict)
    curations: dict[tuple[str, str], StepId] = field(default_factory=dict)
    """(target, arm) -> curate_images step."""
    audits: dict[tuple[str, str], StepId] = field(default_factory=dict)
    """(target, arm) -> audit_pool step."""
    probes: dict[tuple[str, str, str], StepId] = field(default_factory=dict)
    """(target, arm, other arm) -> probe_sources step."""
    tests: dict[tuple[str, str], StepId] = field(default_factory=dict)
    """(target, test set) -> ingest_images step."""
    validations: dict[str, StepId] = field(default_factory=dict)
    """target -> ingest_images step of its validation split."""
    checks: dict[str, StepId] = field(default_factory=dict)
    """target -> check_target step."""
    likenesses: dict[str, StepId] = field(default_factory=dict)
    """target -> compare_splits step."""
    clusters: dict[tuple[str, str], Cluster] = field(default_factory=dict)
    """(target, test set) -> which of its images were drawn together, where that is known."""
    judgements: list[Judgement] = field(default_factory=list)
    """In the order in which they supersede each other."""
    upstream: "UpstreamLayout | None" = None
    """Set where the plan has, or waits for, an indexed upstream."""

    @property
    def test_sets(self) -> tuple[str, ...]:
        """Those of any target, the main one first."""
        return tuple(dict.fromkeys(test_set for _, test_set in self.tests))

    @property
    def steps(self) -> tuple[PlannedStep, ...]:
        return tuple(self._steps.values())

    @property
    def waits_for_others(self) -> bool:
        """Whether some input is a step of another plan: the upstream's."""
        return any(needed not in self._steps for step in self.steps for needed in step.inputs)

    def step(self, step: StepId) -> PlannedStep:
        return self._steps[step]

    def model(self, model: Encoder | Generator) -> ModelRef:
        """One object for all requests that name it: its text is written once."""
        known = self._models.get(id(model))
        if known is None:
            known = self._models[id(model)] = (model, ModelRef.of(model))
        return known[1]

    def add(self, contract: Contract[RequestT, Any], request: RequestT, role: str) -> StepId:
        """The same request twice is one step, under its first role."""
        used: AnyContract = self.contracts.get(contract.name, contract)
        step = used.step_id(request, self.facts)
        if step not in self._steps:
            stored = stored_form(request, self.facts) if used.names_facts else request.model_dump(mode="json")
            self._steps[step] = PlannedStep(step, used, request, stored, inputs_of(request, self._inputs), role)
        return step


class UpstreamLayout(Strict):
    """Where an upstream's images are: stored when it is registered, as its own plan ingests and indexes them."""

    index: StepId
    shards: tuple[EmbeddedShard, ...]


def index_upstream(plan: Plan, upstream: Upstream, encoder: Encoder, hosts: tuple[Host, ...] | None) -> UpstreamLayout:
    """Ingest, embed and index every shard. `hosts`: see TakeEmbeddings."""
    shards = tuple(
        _embedded_shard(plan, shard, encoder, f"{upstream.name}/{number}", upstream.most_losses, hosts)
        for number, shard in enumerate(upstream.shards)
    )
    index = plan.add(INDEX_UPSTREAM, IndexUpstream(shards=shards), f"{upstream.name}/index")
    return UpstreamLayout(index=index, shards=shards)


def _embedded_shard(
    plan: Plan,
    shard: UpstreamShard,
    encoder: Encoder,
    role: str,
    most_losses: float,
    hosts: tuple[Host, ...] | None,
) -> EmbeddedShard:
    images = ingested(plan, shard, role, most_losses)
    if isinstance(shard, LinkTable):
        return _taken(plan, images, shard, encoder, role, hosts)
    return embedded(plan, images, encoder, role, captions=True)


def reembedded_upstream(
    plan: Plan, upstream: Upstream, layout: UpstreamLayout, encoder: Encoder, hosts: tuple[Host, ...] | None
) -> tuple[EmbeddedShard, ...]:
    """The ingested images, embedded by an encoder that does not search them: without their captions."""
    return tuple(
        _taken(plan, steps.images, shard, encoder, f"{upstream.name}/{number}", hosts)
        if isinstance(shard, LinkTable)
        else embedded(plan, steps.images, encoder, f"{upstream.name}/{number}")
        for number, (shard, steps) in enumerate(zip(upstream.shards, layout.shards, strict=True))
    )


def _taken(
    plan: Plan, images: StepId, table: LinkTable, encoder: Encoder, role: str, hosts: tuple[Host, ...] | None
) -> EmbeddedShard:
    request = TakeEmbeddings(images=images, table=table, encoder=plan.model(encoder), hosts=hosts)
    return EmbeddedShard(images=images, embeddings=plan.add(TAKE_EMBEDDINGS, request, f"{role}/embed"))


def ingested(plan: Plan, source: Source, role: str, most_losses: float, classes: int | None = None) -> StepId:
    """`classes`: of the target that the images are labelled for, which earlier versions were not told."""
    if INGEST_IMAGES.name in plan.contracts:
        classes = None
    return plan.add(INGEST_IMAGES, ingest_request(source, most_losses, classes), f"{role}/ingest")


def ingest_request(source: Source, most_losses: float, classes: int | None = None) -> IngestImages:
    if not isinstance(source, ImageFolder | LinkTable) and isinstance(source.cluster, ClusterOfKey):
        # Keys are kept anyway: what is made of them concerns the judge alone.
        source = source.model_copy(update={"cluster": None})
    if isinstance(source, LinkTable):
        # A limit does not decide what becomes of it.
        return IngestImages(source=source)
    return IngestImages(source=source, most_losses=most_losses, classes=None if _says(source, classes) else classes)


def _says(source: Source, classes: int | None) -> bool:
    """Whether the source itself gives each of its images one of so many classes. Of several files nothing is said."""
    return isinstance(source, ClassFolders) or (isinstance(source, ParquetFile) and source.most_classes == classes)


WITH_CLASSES = 4
"""The first version of ingests that was told how many classes the target has."""


def ingest_steps(source: Source, most_losses: float, classes: int | None = None) -> tuple[StepId, ...]:
    """The ingest of a source in every version that may have been planned, today's first."""
    earlier = sorted(
        (each for each in EARLIER.values() if each.name == INGEST_IMAGES.name), key=lambda each: -each.version
    )
    today, before = ingest_request(source, most_losses, classes), ingest_request(source, most_losses)
    asked = ((contract, today if contract.version >= WITH_CLASSES else before) for contract in earlier)
    return (INGEST_IMAGES.step_id(today), *(contract.step_id(request) for contract, request in asked))


def embedded(plan: Plan, images: StepId, encoder: Encoder, role: str, captions: bool = False) -> EmbeddedShard:
    request = EmbedImages(images=images, encoder=plan.model(encoder), captions=captions)
    return EmbeddedShard(images=images, embeddings=plan.add(EMBED_IMAGES, request, f"{role}/embed"))


class PlannedImages(NamedTuple):
    """A step that yields candidates, and what they are here, e.g. `flags/synthetic[0:128]`."""

    step: StepId
    role: str


PoolOf = Callable[[Name], StepId]
"""Plans another arm of the same target, unless that is done, and gives the step that leaves its curated pool."""


@dataclass(frozen=True)
class TargetContext:
    """What planning one arm of one target needs."""

    plan: Plan
    resolved: ResolvedExperiment
    target: Target
    indexed: Callable[[], UpstreamLayout]
    """Where the upstream is; asked by those who need it indexed."""
    validation: StepId
    tests: dict[str, StepId]
    """By name, the main one first."""
    train: StepId | None

    @property
    def upstream(self) -> UpstreamLayout:
        return self.indexed()

    @property
    def test(self) -> StepId:
        return self.tests[MAIN_TEST_SET]

    @property
    def further_tests(self) -> dict[str, StepId]:
        return {name: step for name, step in self.tests.items() if name != MAIN_TEST_SET}
