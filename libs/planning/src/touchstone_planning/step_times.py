"""How long a plan would take on the workers of an installation, from the durations of steps that finished there. Pure.

A step is expected to take as long as finished steps of its kind. Where its amount of work is known, those are scaled by
amount, and the ones nearest to it in amount are taken: a small step is mostly its start, a large one mostly its work.
The median of these is taken, so that a step that was held up decides nothing. Where nothing was measured, the assumed
speed of a GPU is taken, and the answer says so."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from touchstone_contracts.problems import in_words
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    EMBED_IMAGES,
    EVALUATE_ENCODER,
    GENERATE_IMAGES,
    PERTURB_IMAGES,
    QUEUES,
    TUNE_GENERATOR,
)
from touchstone_contracts.values import StepId
from touchstone_contracts.views import QueueTime, TimeEstimate

from touchstone_planning.amounts import ImagesOf, amount_of
from touchstone_planning.dag import Plan, PlannedStep
from touchstone_planning.throughput import DENOISING_STEPS_PER_UPDATE, REFERENCE_PIXELS, Throughput

NEAREST = 9
"""Finished steps that say how long one is expected to take."""


@dataclass(frozen=True)
class MeasuredStep:
    kind: str
    amount: float | None
    """See amounts.py; None: not known."""
    seconds: float


class StepTimes:
    """Expected seconds of steps. `assumed`: of the GPU whose speed is taken where nothing was measured."""

    def __init__(self, measured: Iterable[MeasuredStep], assumed: Throughput) -> None:
        self._measured: dict[str, list[MeasuredStep]] = defaultdict(list)
        for step in measured:
            self._measured[step.kind].append(step)
        self._assumed = _seconds_per_unit(assumed)
        self._known: dict[tuple[str, float | None], float] = {}

    def measures(self, kind: str) -> bool:
        return kind in self._measured

    def seconds(self, kind: str, amount: float | None) -> float:
        asked = (kind, amount)
        if asked not in self._known:
            self._known[asked] = self._expected(kind, amount)
        return self._known[asked]

    def _expected(self, kind: str, amount: float | None) -> float:
        measured = self._measured.get(kind)
        if measured is None:
            return (amount or 0) * self._assumed.get(kind, 0.0)
        sized = [(step.amount, step.seconds) for step in measured if step.amount]
        if not amount or not sized:
            return median(step.seconds for step in measured)
        nearest = sorted(sized, key=lambda step: abs(math.log(step[0] / amount)))[:NEAREST]
        return amount * median(seconds / size for size, seconds in nearest)


def _seconds_per_unit(gpu: Throughput) -> Mapping[str, float]:
    """By kind, in the units of amounts.py. Kinds without an entry are taken as free, as in ASSUMPTIONS."""
    return {
        GENERATE_IMAGES.name: 1 / gpu.denoising_steps / REFERENCE_PIXELS,
        PERTURB_IMAGES.name: 1 / gpu.denoising_steps / REFERENCE_PIXELS,
        TUNE_GENERATOR.name: DENOISING_STEPS_PER_UPDATE / gpu.denoising_steps / REFERENCE_PIXELS,
        ADAPT_ENCODER.name: 1 / gpu.trained_images,
        EMBED_IMAGES.name: 1 / gpu.embedded_images,
        EVALUATE_ENCODER.name: 1 / gpu.embedded_images,
    }


def estimate_time(
    plan: Plan,
    reused: Collection[StepId],
    images: ImagesOf,
    times: StepTimes,
    workers: Mapping[str, int] | None,
) -> TimeEstimate:
    """Of the steps that are not `reused`, as if the workers had nothing else to do.

    A queue takes its steps' seconds divided by its workers, or as long as its longest step. The slowest queue decides;
    what the other queues must do one after the other before, between and after its steps is added. `workers`: by queue,
    None where they are not known; a queue without any counts as if it had one."""
    due = [step for step in plan.steps if step.id not in reused]
    amounts = {step.id: amount_of(step.kind, step.stored, images, images.get(step.id)) for step in due}
    seconds = {step.id: times.seconds(step.kind, amounts[step.id]) for step in due}
    queues = _queues(due, seconds, workers)
    slowest = max(queues, key=lambda queue: queue.elapsed_seconds, default=None)
    others = {step.id: seconds[step.id] for step in due if slowest and step.contract.queue != slowest.queue}
    elapsed = max(
        _longest_chain(plan, seconds), (slowest.elapsed_seconds if slowest else 0.0) + _longest_chain(plan, others)
    )
    kinds = sorted({step.kind for step in due})
    measured = tuple(kind for kind in kinds if times.measures(kind))
    assumed = tuple(kind for kind in kinds if not times.measures(kind))
    return TimeEstimate(
        minutes=elapsed / 60,
        queues=queues,
        measured=measured,
        assumed=assumed,
        summary=_summary(elapsed, queues, bool(measured), bool(assumed)),
    )


def _queues(
    due: Collection[PlannedStep], seconds: Mapping[StepId, float], workers: Mapping[str, int] | None
) -> tuple[QueueTime, ...]:
    """Those that have something to do."""
    steps = Counter(step.contract.queue for step in due)
    return tuple(_queue(name, steps[name], due, seconds, workers) for name in QUEUES if steps[name])


def _queue(
    name: str,
    count: int,
    due: Collection[PlannedStep],
    seconds: Mapping[StepId, float],
    workers: Mapping[str, int] | None,
) -> QueueTime:
    own = [seconds[step.id] for step in due if step.contract.queue == name]
    alive = None if workers is None else workers.get(name, 0)
    return QueueTime(
        queue=name,
        steps=count,
        seconds=sum(own),
        workers=alive,
        elapsed_seconds=max(sum(own) / max(1, alive or 0), max(own)),
    )


def _longest_chain(plan: Plan, seconds: Mapping[StepId, float]) -> float:
    """The most that steps which need each other take together; those without an entry take nothing."""
    ends: dict[StepId, float] = {}
    for step in plan.steps:
        ends[step.id] = seconds.get(step.id, 0.0) + max((ends.get(each, 0.0) for each in step.inputs), default=0.0)
    return max(ends.values(), default=0.0)


def _summary(elapsed: float, queues: Collection[QueueTime], measured: bool, assumed: bool) -> str:
    if not queues:
        return "Every step is done already: the experiment takes no time."
    how = "from the durations of finished steps" if measured else "from assumed speeds: nothing was measured here yet"
    if measured and assumed:
        how = "from the durations of finished steps and, for kinds of steps that have not run here, assumed speeds"
    return f"{duration_words(elapsed)} on {_worker_words(queues)}, estimated {how}."


def _worker_words(queues: Collection[QueueTime]) -> str:
    if any(queue.workers is None for queue in queues):
        return "one worker for each queue (how many run is not known)"
    alive = ", ".join(f"{queue.workers} {queue.queue}" for queue in queues if queue.workers)
    missing = [queue.queue for queue in queues if not queue.workers]
    once = f", once a worker runs for {in_words(missing, 'and')}" if missing else ""
    return f"the workers that run now ({alive or 'none'}){once}"


def duration_words(seconds: float) -> str:
    """ "Less than a minute", "About 12 minutes", "About 3.5 hours"."""
    minutes = seconds / 60
    if minutes < 1:
        return "Less than a minute"
    if minutes < 120:
        count = round(minutes)
        return f"About {count} minute{'s' if count > 1 else ''}"
    return f"About {minutes / 60:.2g} hours" if minutes < 6000 else f"About {round(minutes / 60)} hours"
