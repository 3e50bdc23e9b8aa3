"""What a plan amounts to before it runs: images, updates and GPU hours. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict

from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.steps import (
    AdaptEncoder,
    CurateImages,
    EmbedImages,
    EvaluateEncoder,
    FindLabelled,
    GenerateImages,
    IngestImages,
    PerturbImages,
    RetrieveImages,
    TuneGenerator,
)
from touchstone_contracts.values import StepId, Strict
from touchstone_contracts.views import GpuHours, Workload

from touchstone_planning.arms.planner import planner_of
from touchstone_planning.dag import Plan, PlannedStep
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_planning.throughput import DENOISING_STEPS_PER_UPDATE, REFERENCE_PIXELS, Throughput

SECONDS_PER_HOUR = 3600


def workload(resolved: ResolvedExperiment, plan: Plan, reused: Collection[StepId] = ()) -> Workload:
    """What remains to be done when the steps `reused` are done."""
    return workload_of(plan, planned_images(resolved, plan), reused)


def workload_of(plan: Plan, images: dict[StepId, int], reused: Collection[StepId]) -> Workload:
    """`images`: see planned_images."""
    total: Counter[str] = Counter()
    for step in plan.steps:
        if step.id not in reused:
            total.update(_work(step.request, images, images.get(step.id, 0)))
    return Workload(**total)


def planned_images(resolved: ResolvedExperiment, plan: Plan) -> dict[StepId, int]:
    """Step -> images that it yields, at most, where that is known before it has run."""
    images = _most_candidates(resolved, plan) | _ingested_elsewhere(resolved, plan)
    for step in plan.steps:
        images |= _images_of(step)
    return images


def _most_candidates(resolved: ResolvedExperiment, plan: Plan) -> dict[StepId, int]:
    """Step -> images: an arm's upper bound, spread over the steps that find its candidates."""
    arms = {arm.name: arm for arm in resolved.spec.arms}
    targets = {target.name: target for target in resolved.targets}
    found: dict[StepId, int] = {}
    for (target, arm), curation in plan.curations.items():
        request = plan.step(curation).request
        if not isinstance(request, CurateImages):  # a mixture has no candidates but those of its parts
            continue
        most = planner_of(arms[arm]).most_candidates(arms[arm], targets[target], resolved)
        found |= {shard.images: -(-most // len(request.candidates)) for shard in request.candidates}
    return found


def _ingested_elsewhere(resolved: ResolvedExperiment, plan: Plan) -> dict[StepId, int]:
    """Step -> images of the upstream, which its own plan ingests."""
    if plan.upstream is None:
        return {}
    shards = zip(plan.upstream.shards, resolved.upstream.shards, strict=True)
    return {steps.images: shard.images for steps, shard in shards}


def _images_of(step: PlannedStep) -> dict[StepId, int]:
    """How many images a step yields, where its request says so."""
    request = step.request
    if isinstance(request, IngestImages):
        return {step.id: request.source.images}
    if isinstance(request, GenerateImages):
        return {step.id: request.last - request.first}
    return {}


def _work(request: Strict, images: dict[StepId, int], own: int) -> dict[str, float]:
    """Entries of Workload; `own`: the images that the step yields."""
    if isinstance(request, IngestImages):
        return {"images_ingested": own}
    if isinstance(request, RetrieveImages | FindLabelled):
        return {"images_retrieved_at_most": own}
    if isinstance(request, GenerateImages):
        pixels = request.image_size**2 / REFERENCE_PIXELS
        return {"images_generated": own, "denoising_steps": own * request.sampler.steps * pixels}
    if isinstance(request, PerturbImages):
        pixels = request.image_size**2 / REFERENCE_PIXELS
        return {"images_generated": own, "denoising_steps": own * int(request.sampler.steps * request.gamma) * pixels}
    if isinstance(request, TuneGenerator):
        pixels = request.image_size**2 / REFERENCE_PIXELS
        return {"images_tuned_on": request.lora.steps * request.lora.batch_size * pixels}
    if isinstance(request, EmbedImages):
        return {"images_embedded": images[request.images]}
    if isinstance(request, AdaptEncoder):
        return {"adaptations": 1, **asdict(request.recipe.work(request.size, images[request.validation]))}
    if isinstance(request, EvaluateEncoder):
        fitted = any(METRICS[metric].train_split != "unused" for metric in request.evaluation.metrics)
        splits = [*request.tests.values(), *([request.train] if request.train and fitted else [])]
        return {"images_evaluated": sum(images[split] for split in splits)}
    return {}


def gpu_hours(work: Workload, throughputs: Iterable[Throughput]) -> tuple[GpuHours, ...]:
    return tuple(_hours(work, throughput) for throughput in throughputs)


def _hours(work: Workload, throughput: Throughput) -> GpuHours:
    seconds = {
        "generate": (work.denoising_steps + DENOISING_STEPS_PER_UPDATE * work.images_tuned_on)
        / throughput.denoising_steps,
        "embed": work.images_embedded / throughput.embedded_images,
        "adapt": work.images_trained / throughput.trained_images,
        "evaluate": work.images_evaluated / throughput.embedded_images,
    }
    hours = {name: value / SECONDS_PER_HOUR for name, value in seconds.items()}
    return GpuHours(gpu=throughput.gpu, **hours, total=sum(hours.values()), sources=throughput.sources)
