"""What the pages show, arranged for reading: progress by kind of step, tables of accuracies, classes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import Target
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.views import ComparisonResult, Exhausted, Results, StepView, SummaryRow, Verdict

KIND_WORDS = {
    "describe_source": "Look at a location",
    "ingest_images": "Ingest images",
    "embed_images": "Embed images",
    "take_embeddings": "Take embeddings over",
    "index_upstream": "Index the upstream",
    "name_classes": "Count names of classes",
    "retrieve_images": "Retrieve images",
    "search_upstream": "Search the upstream",
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


def largest_class_differences(verdict: Verdict, targets: Iterable[Target]) -> list[tuple[ComparisonResult, str]]:
    """With the classes' display names, the surest differences first."""
    names = {(target.name, label.id): label.display_name for target in targets for label in target.classes}
    surest = sorted(verdict.classes, key=lambda entry: (entry.p_value, -abs(entry.difference)))
    return [(entry, names[entry.target or "", entry.class_id or 0]) for entry in surest[:MOST_CLASSES]]
