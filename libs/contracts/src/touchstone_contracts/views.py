"""What the HTTP API answers; shared by the api and its clients."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import Encoder, Generator, Splits, Upstream
from touchstone_contracts.curation import CurationCounts
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.problems import Problem
from touchstone_contracts.values import Digest, Lenient, Name, StepId

Phase = Literal["queued", "running", "succeeded", "failed", "cancelled"]
StepState = Literal["waiting", "leased", "succeeded", "failed"]


class StepCounts(Lenient):
    total: int = 0
    waiting: int = 0
    leased: int = 0
    succeeded: int = 0
    failed: int = 0
    reused: int = 0
    """Succeeded before this experiment was posted, and verified."""


class StepView(Lenient):
    """One step as an experiment sees it."""

    id: StepId
    kind: str
    role: str
    """What it is for here, e.g. `flags/synthetic/generate[0:128]`."""
    state: StepState
    attempt: int = 0
    done: int = 0
    total: int | None = None
    reused: bool = False
    seconds: float | None = None
    problem: Problem | None = None


class ExperimentView(Lenient):
    id: str
    identity: Digest
    name: str
    phase: Phase
    spec: ExperimentSpec
    created_at: datetime
    finished_at: datetime | None = None
    steps: StepCounts
    reused_by_kind: dict[str, int] = Field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    links: dict[str, str] = Field(default_factory=dict)


class ExperimentDetail(ExperimentView):
    step_list: tuple[StepView, ...] = ()


class Page(Lenient):
    next_cursor: str | None = None


class ExperimentPage(Page):
    items: tuple[ExperimentView, ...]


class Validation(Lenient):
    """What posting a spec would do; nothing has been created."""

    identity: Digest
    experiment: str | None
    """The experiment that this spec has been posted as already."""
    steps: int
    steps_by_kind: dict[str, int]
    reused_by_kind: dict[str, int]


class UpstreamView(Lenient):
    """A registered upstream and how far its ingest is."""

    name: Name
    images: int
    phase: Phase
    steps: StepCounts
    upstream: Upstream
    problems: tuple[Problem, ...] = ()


class UpstreamPage(Page):
    items: tuple[UpstreamView, ...]


class TargetSummary(Lenient):
    """A target without its class list."""

    name: Name
    description: str
    classes: int
    splits: Splits


class TargetPage(Page):
    items: tuple[TargetSummary, ...]


class EncoderPage(Page):
    items: tuple[Encoder, ...]


class GeneratorPage(Page):
    items: tuple[Generator, ...]


class ResultRow(Lenient):
    """One measured accuracy. `size` is 0 for the untouched encoder."""

    target: Name
    arm: Name
    size: int
    seed: int
    metric: Metric
    value: float
    learning_rate: float | None = None
    peak_lr_fraction: float | None = None
    test_images: int
    macro: float | None = None
    """Mean over classes; `value` is the mean over images."""
    top5: float | None = None
    calibration_error: float | None = None
    """Expected calibration error, 15 bins of equal width."""


class ClassRow(Lenient):
    """One class of a target, mean over seeds. None: the class has no test image, or there is no untouched encoder."""

    class_id: int
    display_name: str
    test_images: int
    accuracy: float | None
    untouched: float | None
    """Accuracy of the encoder as it is."""
    change: float | None


class Confusion(Lenient):
    """Test images of one class that were taken for another, mean over seeds."""

    class_id: int
    predicted_id: int
    images: float


class ClassTable(Lenient):
    """An arm at a size, by class: the largest losses against the untouched encoder first."""

    experiment: str
    target: Name
    arm: Name
    size: int
    metric: Metric
    seeds: int
    classes: tuple[ClassRow, ...]
    confusions: tuple[Confusion, ...]
    """The most frequent, at most 20."""


class Exhausted(Lenient):
    """A size an arm could not reach: a declared fact, not a missing point."""

    target: Name
    arm: Name
    size: int
    available: int


class ArmCounts(Lenient):
    target: Name
    arm: Name
    counts: CurationCounts


class SummaryRow(Lenient):
    """Mean and sample standard deviation over seeds."""

    target: Name
    arm: Name
    size: int
    metric: Metric
    mean: float
    std: float | None
    seeds: int


class Results(Lenient):
    experiment: str
    digest: Digest
    """sha256 over the rows: two runs that agree in every number agree in it."""
    complete: bool
    rows: tuple[ResultRow, ...]
    summary: tuple[SummaryRow, ...]
    exhausted: tuple[Exhausted, ...]
    counts: tuple[ArmCounts, ...]


Answer = Literal["a_better", "b_better", "no_difference", "undecided"]


class ComparisonResult(Lenient):
    """A difference accuracy(a) - accuracy(b) with its interval; method in docs/verdict.md."""

    target: Name | None
    """None: mean over targets."""
    size: int | None
    """None: mean over sizes."""
    metric: Metric
    difference: float
    low: float
    high: float
    degrees_of_freedom: float
    p_value: float
    adjusted_p_value: float | None = None
    """Holm over the secondary comparisons."""
    answer: Answer
    seeds: int
    test_images: int


class BaselineCheck(Lenient):
    """An arm against the untouched encoder, averaged over targets and sizes."""

    arm: Name
    metric: Metric
    difference: float
    low: float
    high: float
    below: bool
    """The interval lies below 0: a failed adaptation or a bad training set."""


class ExchangeRate(Lenient):
    """How many images of b reach the accuracy of `images_a` images of a."""

    target: Name
    images_a: int
    images_b: float | None
    """None: outside the sizes measured for b, then one of the next two says on which side."""
    more_than: float | None = None
    at_most: float | None = None
    low: float | None = None
    high: float | None = None
    """Ends of the interval; None: outside the sizes measured for b."""


class Verdict(Lenient):
    experiment: str
    a: Name
    b: Name
    delta: float
    confidence: float
    answer: Answer
    headline: str
    primary: ComparisonResult
    secondary: tuple[ComparisonResult, ...]
    baseline: tuple[BaselineCheck, ...]
    exchange_rates: tuple[ExchangeRate, ...] = ()
    would_decide: str | None = None
    warnings: tuple[str, ...] = ()
    results_digest: Digest


class ImageView(Lenient):
    """A thumbnail: `url` answers the image's bytes."""

    id: Digest
    class_id: int
    class_name: str
    url: str
    caption: str
    kept: bool
    drop_reason: str
    score: float | None
    nearest_test_id: str | None = None
    nearest_test_cosine: float | None = None
    found_by: str = ""


class ImagePage(Page):
    items: tuple[ImageView, ...]


class Event(Lenient):
    """One line of an experiment's history, streamed over SSE; `id` resumes."""

    id: int
    event: str
    at: datetime
    data: dict[str, Any]
