"""The plan: the whole DAG of an experiment's steps, with every step's identity known before anything runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from touchstone_contracts.arms import Generation, Retrieval
from touchstone_contracts.catalogue import Encoder, ImageSource, Target, Upstream
from touchstone_contracts.identity import identity_payload
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CURATE_IMAGES,
    EMBED_IMAGES,
    EVALUATE_ENCODER,
    GENERATE_IMAGES,
    INDEX_UPSTREAM,
    INGEST_IMAGES,
    RETRIEVE_IMAGES,
    WRITE_PROMPTS,
    Adaptation,
    AdaptEncoder,
    Contract,
    CurateImages,
    EmbeddedShard,
    EmbedImages,
    EvaluateEncoder,
    GenerateImages,
    IndexUpstream,
    IngestImages,
    ModelRef,
    RequestT,
    RetrieveImages,
    WritePrompts,
)
from touchstone_contracts.values import StepId, Strict

from touchstone_api.experiments.resolve import ResolvedExperiment

IMAGES_PER_CHUNK = 128
"""Images generated in one step: minutes of GPU work at 512 px, seconds on the miniverse."""


@dataclass(frozen=True)
class PlannedStep:
    id: StepId
    kind: str
    request: Strict
    inputs: tuple[StepId, ...]
    role: str
    """What the step is for here, e.g. `flags/synthetic/generate[0:128]`."""


@dataclass(frozen=True)
class Cell:
    """One point of the results: the untouched encoder has size 0."""

    target: str
    arm: str
    size: int
    seed: int


@dataclass
class Plan:
    """Steps in topological order, each once, and where to find what results are made of."""

    _steps: dict[StepId, PlannedStep] = field(default_factory=dict)
    evaluations: dict[Cell, StepId] = field(default_factory=dict)
    curations: dict[tuple[str, str], StepId] = field(default_factory=dict)
    """(target, arm) -> curate_images step."""
    tests: dict[str, StepId] = field(default_factory=dict)
    """target -> ingest_images step of its test split."""

    @property
    def steps(self) -> tuple[PlannedStep, ...]:
        return tuple(self._steps.values())

    def add(self, contract: Contract[RequestT, Any], request: RequestT, role: str) -> StepId:
        """The same request twice is one step, under its first role. Inputs are the steps the request names."""
        step = contract.step_id(request)
        if step not in self._steps:
            inputs = tuple(dict.fromkeys(text for text in _strings(identity_payload(request)) if text in self._steps))
            self._steps[step] = PlannedStep(step, contract.name, request, inputs, role)
        return step


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def plan_upstream(upstream: Upstream, index_encoder: Encoder) -> Plan:
    """Ingest, embed and index every shard."""
    plan = Plan()
    _index(plan, upstream, index_encoder)
    return plan


def plan_experiment(resolved: ResolvedExperiment) -> Plan:
    plan = Plan()
    needs_upstream = any(arm.kind == "retrieval" for arm in resolved.spec.arms)
    found = _index(plan, resolved.upstream, resolved.index_encoder) if needs_upstream else None
    for target in resolved.targets:
        _TargetPlanner(plan, resolved, target, found).add_all()
    return plan


@dataclass(frozen=True)
class _IndexedUpstream:
    index: StepId
    shards: tuple[EmbeddedShard, ...]


def _index(plan: Plan, upstream: Upstream, encoder: Encoder) -> _IndexedUpstream:
    shards = tuple(
        _embedded(
            plan, _ingested(plan, source, f"{upstream.name}/{number}"), encoder, f"{upstream.name}/{number}", True
        )
        for number, source in enumerate(upstream.shards)
    )
    index = plan.add(INDEX_UPSTREAM, IndexUpstream(shards=shards), f"{upstream.name}/index")
    return _IndexedUpstream(index, shards)


def _ingested(plan: Plan, source: ImageSource, role: str) -> StepId:
    return plan.add(INGEST_IMAGES, IngestImages(source=source), f"{role}/ingest")


def _embedded(plan: Plan, images: StepId, encoder: Encoder, role: str, captions: bool = False) -> EmbeddedShard:
    request = EmbedImages(images=images, encoder=ModelRef.of(encoder), captions=captions)
    return EmbeddedShard(images=images, embeddings=plan.add(EMBED_IMAGES, request, f"{role}/embed"))


class _TargetPlanner:
    """Plans one target: its splits, then each arm's pool, then the grid of runs."""

    def __init__(
        self, plan: Plan, resolved: ResolvedExperiment, target: Target, upstream: _IndexedUpstream | None
    ) -> None:
        self.plan, self.resolved, self.target, self.upstream = plan, resolved, target, upstream
        self.spec, self.encoder = resolved.spec, ModelRef.of(resolved.encoder)
        splits, name = target.splits, target.name
        self.validation = _ingested(plan, splits.validation, f"{name}/validation")
        self.test = _ingested(plan, splits.test, f"{name}/test")
        self.train = _ingested(plan, splits.train, f"{name}/train") if splits.train else None
        plan.tests[name] = self.test

    def add_all(self) -> None:
        for arm in self.spec.arms:
            if arm.kind == "none":
                self._evaluate(arm.name, 0, ())
            else:
                pool = self._curate(arm)
                self.plan.curations[self.target.name, arm.name] = pool
                for size in self.spec.sizes:
                    self._evaluate(arm.name, size, self._adapt(arm.name, pool, size))

    def _curate(self, arm: Retrieval | Generation) -> StepId:
        role = f"{self.target.name}/{arm.name}"
        sets = self._retrieve(arm, role) if arm.kind == "retrieval" else self._generate(arm, role)
        request = CurateImages(
            candidates=tuple(_embedded(self.plan, images, self.resolved.encoder, part) for images, part in sets),
            encoder=self.encoder,
            classes=self.target.classes,
            templates=self.target.templates.filter,
            test=_embedded(self.plan, self.test, self.resolved.encoder, f"{self.target.name}/test"),
            rules=self.spec.curation,
        )
        return self.plan.add(CURATE_IMAGES, request, f"{role}/curate")

    def _retrieve(self, arm: Retrieval, role: str) -> list[tuple[StepId, str]]:
        assert self.upstream is not None  # plan_experiment indexes it whenever an arm retrieves
        request = RetrieveImages(
            index=self.upstream.index,
            shards=self.upstream.shards,
            encoder=ModelRef.of(self.resolved.index_encoder),
            classes=self.target.classes,
            templates=self.target.templates.retrieval,
            strategy=arm.strategy,
            seed=self.spec.sampling_seed,
        )
        return [(self.plan.add(RETRIEVE_IMAGES, request, f"{role}/retrieve"), role)]

    def _generate(self, arm: Generation, role: str) -> list[tuple[StepId, str]]:
        generator = self.resolved.generator(arm.generator)
        images_per_class = arm.images_per_class(len(self.target.classes))
        write = WritePrompts(
            classes=self.target.classes,
            templates=self.target.templates.synthesis,
            images_per_class=images_per_class,
        )
        prompts = self.plan.add(WRITE_PROMPTS, write, f"{role}/prompts")
        chunks = []
        for first, last in _chunks(images_per_class * len(self.target.classes)):
            request = GenerateImages(
                prompts=prompts,
                first=first,
                last=last,
                generator=ModelRef.of(generator),
                image_size=generator.image_size,
                sampler=arm.sampler,
                seed=self.spec.sampling_seed,
            )
            part = f"[{first}:{last}]"
            chunks.append((self.plan.add(GENERATE_IMAGES, request, f"{role}/generate{part}"), f"{role}{part}"))
        return chunks

    def _adapt(self, arm: str, pool: StepId, size: int) -> tuple[Adaptation, ...]:
        """One run per learning rate and seed."""
        runs = []
        for rate in self.spec.recipe.learning_rates:
            for seed in self.spec.seeds:
                request = AdaptEncoder(
                    pool=pool,
                    size=size,
                    seed=seed,
                    learning_rate=rate,
                    # Without the rest of the grid: adding a rate later must not repeat this run.
                    recipe=self.spec.recipe.model_copy(update={"learning_rates": (rate,)}),
                    rules=self.spec.curation,
                    encoder=self.encoder,
                    classes=self.target.classes,
                    templates=self.target.templates.zero_shot,
                    validation=self.validation,
                )
                role = f"{self.target.name}/{arm}/adapt n={size} seed={seed} lr={rate:g}"
                runs.append(Adaptation(learning_rate=rate, seed=seed, step=self.plan.add(ADAPT_ENCODER, request, role)))
        return tuple(runs)

    def _evaluate(self, arm: str, size: int, adaptations: tuple[Adaptation, ...]) -> None:
        for seed in self.spec.seeds:
            request = EvaluateEncoder(
                adaptations=adaptations,
                seed=seed,
                encoder=self.encoder,
                classes=self.target.classes,
                templates=self.target.templates.zero_shot,
                train=self.train,
                validation=self.validation,
                test=self.test,
                evaluation=self.spec.evaluation,
            )
            role = f"{self.target.name}/{arm}/evaluate n={size} seed={seed}"
            step = self.plan.add(EVALUATE_ENCODER, request, role)
            self.plan.evaluations[Cell(self.target.name, arm, size, seed)] = step


def _chunks(total: int) -> Iterator[tuple[int, int]]:
    for first in range(0, total, IMAGES_PER_CHUNK):
        yield first, min(first + IMAGES_PER_CHUNK, total)
