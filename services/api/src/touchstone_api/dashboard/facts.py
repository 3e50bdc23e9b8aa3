"""What the pages show, arranged for reading: progress by kind of step, tables of accuracies, the drawn interval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import Target
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.views import ComparisonResult, Exhausted, Results, StepView, SummaryRow, Verdict

KIND_WORDS = {
    "describe_source": "Look at files",
    "ingest_images": "Ingest images",
    "embed_images": "Embed images",
    "take_embeddings": "Take embeddings over",
    "index_upstream": "Index the upstream",
    "name_classes": "Count names of classes",
    "retrieve_images": "Retrieve images",
    "find_labelled": "Find images by their true class",
    "download_images": "Download images",
    "write_prompts": "Write prompts",
    "write_captions": "Write captions",
    "collect_captions": "Collect captions",
    "tune_generator": "Tune the generator",
    "generate_images": "Generate images",
    "perturb_images": "Perturb images",
    "curate_images": "Curate images",
    "mix_pools": "Mix curated pools",
    "audit_pool": "Check labels",
    "adapt_encoder": "Adapt the encoder",
    "evaluate_encoder": "Evaluate the encoder",
    "probe_sources": "Probe for source shortcuts",
    "check_target": "Check the target's splits",
    "compare_splits": "Compare the target's splits",
    "judge_experiment": "Judge the experiment",
}
MOST_CURRENT = 3
MOST_CLASSES = 20


@dataclass
class KindProgress:
    """Steps of one kind; `done` counts started steps by their share, so that the bar moves within a step."""

    kind: str
    total: int = 0
    succeeded: int = 0
    reused: int = 0
    failed: int = 0
    done: float = 0.0
    current: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        return KIND_WORDS.get(self.kind, self.kind)


def progress_by_kind(steps: Iterable[StepView]) -> list[KindProgress]:
    """In the plan's order."""
    kinds: dict[str, KindProgress] = {}
    for step in steps:
        _count(kinds.setdefault(step.kind, KindProgress(step.kind)), step)
    return list(kinds.values())


def _count(progress: KindProgress, step: StepView) -> None:
    progress.total += 1
    progress.succeeded += step.state == "succeeded"
    progress.reused += step.reused
    progress.failed += step.state == "failed"
    progress.done += step.state == "succeeded"
    if step.state == "leased":
        progress.done += step.done / step.total if step.total else 0.0
        share = f" ({step.done} of {step.total})" if step.total else ""
        if len(progress.current) < MOST_CURRENT:
            progress.current.append(step.role + share)


@dataclass(frozen=True)
class AccuracyTable:
    """One target, one test set, one metric: a row per arm, a cell per size."""

    target: str
    metric: Metric
    test_set: str
    sizes: tuple[int, ...]
    baseline: SummaryRow | None
    rows: tuple[tuple[str, tuple[SummaryRow | Exhausted | None, ...]], ...]
    """None: not measured yet."""


def accuracy_tables(spec: ExperimentSpec, targets: Iterable[Target], results: Results) -> list[AccuracyTable]:
    cells: dict[tuple[str, str, int, Metric, str], SummaryRow] = {
        (row.target, row.arm, row.size, row.metric, row.test_set): row for row in results.summary
    }
    gone = {(entry.target, entry.arm, entry.size): entry for entry in results.exhausted}
    untouched = spec.untouched or ""
    sizes = tuple(sorted(spec.sizes))
    return [
        AccuracyTable(
            target.name,
            metric,
            test_set,
            sizes,
            cells.get((target.name, untouched, 0, metric, test_set)),
            tuple(
                (
                    arm.name,
                    tuple(
                        cells.get((target.name, arm.name, size, metric, test_set))
                        or gone.get((target.name, arm.name, size))
                        for size in sizes
                    ),
                )
                for arm in spec.training_arms
            ),
        )
        for target in targets
        for test_set in target.splits.tests
        for metric in spec.evaluation.metrics
    ]


def class_tables(spec: ExperimentSpec, results: Results) -> list[tuple[str, str, int, Metric, str]]:
    """(target, arm, size, metric, test set) of which every seed is measured, and of the untouched encoder too if there
    is one."""
    complete = {
        (row.target, row.arm, row.size, row.metric, row.test_set)
        for row in results.summary
        if row.seeds == len(spec.seeds)
    }
    return sorted(
        (target, arm, size, metric, test_set)
        for target, arm, size, metric, test_set in complete
        if size and (spec.untouched is None or (target, spec.untouched, 0, metric, test_set) in complete)
    )


@dataclass(frozen=True)
class IntervalDrawing:
    """Positions in a drawing of WIDTH units: the interval, the band of differences that do not matter, zero."""

    low: float
    high: float
    middle: float
    zero: float
    band_low: float
    band_high: float
    ticks: tuple[tuple[float, float], ...]
    """(position, difference in points)"""

    WIDTH = 600.0
    MARGIN = 24.0


def draw_interval(verdict: Verdict) -> IntervalDrawing:
    primary, delta = verdict.primary, verdict.delta
    reach = 1.1 * max(abs(primary.low), abs(primary.high), 1.5 * delta)

    def place(difference: float) -> float:
        inner = IntervalDrawing.WIDTH - 2 * IntervalDrawing.MARGIN
        return round(IntervalDrawing.MARGIN + inner * (difference + reach) / (2 * reach), 1)

    step = _tick_step(reach)
    marks = [number * step for number in range(-int(reach / step), int(reach / step) + 1)]
    return IntervalDrawing(
        low=place(primary.low),
        high=place(primary.high),
        middle=place(primary.difference),
        zero=place(0),
        band_low=place(-delta),
        band_high=place(delta),
        ticks=tuple((place(mark), round(mark * 100, 6)) for mark in marks),
    )


def _tick_step(reach: float) -> float:
    """The smallest round step that puts at most four marks on each side of zero."""
    steps: Sequence[float] = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    return next((step for step in steps if reach / step <= 4), 1.0)


def largest_class_differences(verdict: Verdict, targets: Iterable[Target]) -> list[tuple[ComparisonResult, str]]:
    """With the classes' display names, the surest differences first."""
    names = {(target.name, label.id): label.display_name for target in targets for label in target.classes}
    surest = sorted(verdict.classes, key=lambda entry: (entry.p_value, -abs(entry.difference)))
    return [(entry, names[entry.target or "", entry.class_id or 0]) for entry in surest[:MOST_CLASSES]]
