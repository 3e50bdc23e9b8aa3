"""What the HTTP API answers; shared by the api and its clients."""

from collections import Counter
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from touchstone_contracts.account import Account
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET, Dataset, Encoder, Generator, Splits, Target, Upstream
from touchstone_contracts.class_groups import ClassGroup
from touchstone_contracts.curation import CurationCounts, CurationReport
from touchstone_contracts.experiment import ExperimentSpec, Spread, Stopping
from touchstone_contracts.label_card import LabelCard
from touchstone_contracts.locations import LocatedDataset, LocatedTarget, LocatedUpstream
from touchstone_contracts.messages import Environment
from touchstone_contracts.power import Power, TargetSpread
from touchstone_contracts.problems import FieldError, Invalid, Problem
from touchstone_contracts.registration import Registration
from touchstone_contracts.search import SearchIn
from touchstone_contracts.source_probe import SourceProbe
from touchstone_contracts.steps import EpochScore
from touchstone_contracts.takedowns import Takedown
from touchstone_contracts.values import Digest, Lenient, Name, Posted, StepId, Tag, Title, WhenSet

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


class StepDetail(StepView):
    """A step with what it needs, where and when it ran, and the end of its log."""

    version: int
    """Of the contract that its request is written in."""
    queue: str
    """Whose work it is: `retrieval`, `generator`, `trainer` or `judge`."""
    inputs: tuple[StepId, ...]
    worker: str | None = None
    """Who works on it, or made the last attempt; None before the first and while it waits for the next."""
    created_at: datetime
    started_at: datetime | None = None
    """When the last attempt started; None while its message waits in the queue."""
    finished_at: datetime | None = None
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    log_tail: str | None = None
    """The end of the worker's log, of the last attempt that failed."""


class StoredBytes(Lenient):
    """What results hold in the object store."""

    total: int = 0
    own: int = 0
    """Of `total`: what nobody else needs, and a collection removes once this is deleted."""


class PlanBytes(StoredBytes):
    """Of an experiment, or of an upstream's ingest."""

    id: str
    """`exp_...`, or `upstream/` and its name."""
    name: str


class Storage(Lenient):
    total: int
    """Bytes of all results, each object once; of those too that a collection would remove."""
    quota: int | None
    """Bytes from which on no experiment is accepted; None: no limit."""
    largest: tuple[PlanBytes, ...]
    """Those that hold most of their own first."""


class UpstreamProgress(Lenient):
    """How far the ingest of the upstream is, while an experiment waits for it."""

    name: Name
    phase: Phase
    steps: StepCounts


class Page(Lenient):
    next_cursor: str | None = None


class Dependant(Lenient):
    """An experiment whose results were computed with an image that was taken down."""

    id: str
    name: str


class TakedownView(Takedown):
    experiments: tuple[Dependant, ...] = ()
    """Whose results were computed with one of the images. They stay, and say so."""


class TakedownPage(Page):
    items: tuple[TakedownView, ...]


class ExperimentView(Lenient):
    id: str
    identity: Digest
    name: str
    phase: Phase
    spec: ExperimentSpec | None
    """None: what is stored cannot be read by the server's release, and `problems` says why."""
    created_at: datetime
    finished_at: datetime | None = None
    steps: StepCounts
    reused_by_kind: dict[str, int] = Field(default_factory=dict)
    waits_for: UpstreamProgress | None = None
    """None: its upstream is ready, or not needed. Its steps are not among `steps`."""
    problems: tuple[Problem, ...] = ()
    outages: tuple[Problem, ...] = ()
    """Servers that do not answer and that its steps wait for; work goes on when they are back."""
    takedowns: tuple[Takedown, ...] = ()
    """Images that results of this experiment were computed with and that were taken down since."""
    headline: str | None = None
    """What the latest verdict says, in one sentence; None before there is one."""
    tags: tuple[Tag, ...] = ()
    archived_at: datetime | None = None
    """When it was put away; lists leave it out then."""
    links: dict[str, str] = Field(default_factory=dict)

    @property
    def readable_spec(self) -> ExperimentSpec:
        """Raises Invalid where there is none."""
        if self.spec is None:
            reasons = "; ".join(problem.detail for problem in self.problems)
            raise Invalid(f"the spec of experiment {self.id} cannot be read: {reasons}", code="unreadable_row")
        return self.spec


class ExperimentDetail(ExperimentView):
    step_list: tuple[StepView, ...] = ()
    stored: StoredBytes = StoredBytes()
    registration: Registration | None = None
    """What was declared when it was posted; None: posted with a release that kept none."""


class ExperimentChanges(Posted):
    """Of what an experiment is called and found by; what is left out stays. What was asked never changes."""

    name: Title | None = None
    tags: tuple[Tag, ...] | None = Field(default=None, max_length=20)
    """All of them: those that are not named here are taken away."""
    archived: bool | None = None
    """Whether lists leave it out."""


class ExperimentPage(Page):
    items: tuple[ExperimentView, ...]


class StepPage(Page):
    items: tuple[StepView, ...]


class Validation(Lenient):
    """What posting a spec would do; nothing has been created."""

    identity: Digest
    experiment: str | None
    """The experiment that this spec has been posted as already."""
    steps: int
    steps_by_kind: dict[str, int]
    reused_by_kind: dict[str, int]
    exhausted: tuple[FieldError, ...] = ()
    """Sizes at which an arm is known to run out of images, as far as that follows from candidates, filter and cap."""


class Workload(Lenient):
    """Work that no earlier experiment has done."""

    images_ingested: int = 0
    images_retrieved_at_most: int = 0
    """What the queries can find at most; how many they do find is known only afterwards."""
    images_generated: int = 0
    denoising_steps: float = 0.0
    """Images x sampling steps, as if every image had 512 x 512 pixels."""
    images_tuned_on: float = 0.0
    """Images x updates in the tuning of generators, as if every image had 512 x 512 pixels."""
    images_embedded: int = 0
    adaptations: int = 0
    updates: int = 0
    """Gradient steps, over all adaptations."""
    images_trained: int = 0
    """Forward and backward: size x epochs, over all adaptations."""
    images_evaluated: int = 0


class GpuHours(Lenient):
    """An estimate for one GPU of a class; see `assumptions`."""

    gpu: str
    generate: float
    embed: float
    adapt: float
    evaluate: float
    total: float
    sources: tuple[str, ...]
    """Of the throughputs it was computed with."""


class QueueTime(Lenient):
    """The work of one queue, whose workers take its steps one each at a time."""

    queue: str
    """Whose work it is: `retrieval`, `generator`, `trainer` or `judge`."""
    steps: int
    """Steps that are still to be done."""
    seconds: float
    """What they are expected to take together, on one worker."""
    workers: int | None
    """That run now; None: no conductor has counted them lately. Without any, one is assumed."""
    elapsed_seconds: float
    """`seconds` divided by the workers, or the longest step if that is more."""


class TimeEstimate(Lenient):
    """How long an experiment would take here, as if the workers had nothing else to do."""

    minutes: float
    """Of the slowest queue, with what the other queues must do before, between and after its steps."""
    queues: tuple[QueueTime, ...]
    """Those that have something to do."""
    measured: tuple[str, ...]
    """Kinds of steps whose durations come from finished steps of this installation."""
    assumed: tuple[str, ...]
    """Kinds of which none has finished here: published speeds of a GPU stand in, and kinds without such a speed count
    as nothing."""
    summary: str
    """The estimate in one sentence."""


class Estimation(Lenient):
    """What an experiment would cost; nothing has been created."""

    steps_by_kind: dict[str, int]
    reused_by_kind: dict[str, int]
    """Steps whose results are there already; they are not part of `work`."""
    work: Workload
    gpu_hours: tuple[GpuHours, ...]
    assumptions: tuple[str, ...]
    power: Power | None = None
    """Of the declared comparison; None where fewer than two arms train."""
    time: TimeEstimate | None = None
    """On the workers of this installation; None in answers of servers that do not measure."""


class SourceAccount(Lenient):
    """What came in so far of an upstream, of a split of a target, or of a data set."""

    kind: Literal["upstream", "split", "dataset"]
    name: Name
    """Of the entry."""
    split: Name | None = None
    files: int
    """Files or folders. Those of an upstream are ingested one by one, those of a split in one step."""
    ingested: int
    """Of the files: those of which there is a result."""
    account: Account = Account()
    """Of the ingested files together. Rows of link tables are no images and are told of in notes alone."""

    @property
    def words(self) -> str:
        return {"upstream": "upstream ", "split": "", "dataset": "data set "}[self.kind] + "/".join(
            filter(None, (self.name, self.split))
        )


class TargetAccount(Lenient):
    """Splits are ingested by the experiments that need them."""

    target: Name
    splits: tuple[SourceAccount, ...]


class GenerationNotes(Lenient):
    """What is to be known of the images that were made for an arm so far, and of their prompts."""

    target: Name
    arm: Name
    notes: dict[str, int]
    """Fact -> how many it holds for, as `prompt_truncated`; those that hold for none are left out."""


class ExperimentAccount(Lenient):
    """What came in of an experiment's sources so far, and what is to be known of what it generated."""

    experiment: str
    sources: tuple[SourceAccount, ...]
    generated: tuple[GenerationNotes, ...]


class SearchedQuery(Lenient):
    """A query of words that a retrieval arm asked captions for."""

    target: Name
    arm: Name
    class_id: int
    query: str
    """As the spec or the class states it."""
    searched: str
    """The words that were looked for, as captions are compared by, or the pattern."""
    captions: int
    """Found, at most `results_per_query` of the strategy."""


class SearchedQueries(Lenient):
    experiment: str
    total: int
    queries: tuple[SearchedQuery, ...]
    """The first of them, at most 10,000."""


class UpstreamView(Lenient):
    """A registered upstream and how far its ingest is."""

    name: Name
    images: int
    phase: Phase
    steps: StepCounts
    upstream: Upstream
    stored: StoredBytes = StoredBytes()
    problems: tuple[Problem, ...] = ()
    account: SourceAccount | None = None
    """None in lists, and in answers to what changes something."""


class UpstreamPage(Page):
    items: tuple[UpstreamView, ...]


DescribedKind = Literal["upstream", "target", "dataset"]


class DescriptionView(Lenient):
    """What was asked for by its location, and how far looking at it is."""

    kind: DescribedKind
    name: Name
    asked: LocatedUpstream | LocatedTarget | LocatedDataset
    phase: Phase
    """`succeeded`: it is registered."""
    done: int = 0
    """Files that were looked at, of `total`."""
    total: int | None = None
    problems: tuple[Problem, ...] = ()
    """Why it failed, or which server it waits for."""
    notes: tuple[str, ...] = ()
    """What was left out."""
    registered: str | None = None
    """Where it is in the API, e.g. `/v1/upstreams/birds`."""
    created_at: datetime


class FoundImage(Lenient):
    """An image of an upstream that a search found."""

    id: str
    """Ask for more images like it with this as `like`."""
    score: float | None
    """Cosine between the query and the image's embedding, or its caption's; null of a search for words."""
    caption: str
    source_key: str
    """Key of the image in its source."""
    url: str | None = None
    """Where its bytes are served; null of a link, whose image is not downloaded before an experiment needs it."""
    link: str | None = None
    """Of a link: the URL that it leads to, on somebody else's server."""


class SearchView(Lenient):
    """A search of an upstream: what was asked, how far it is, and what it found."""

    id: StepId
    """The same search of the same files has the same id."""
    upstream: Name
    text: str | None = None
    """What was searched for, if it was a text."""
    image: Digest | None = None
    """The sha256 of what was searched for, if it was an image."""
    like: str | None = None
    """What was searched for, if it was an image of the upstream."""
    search_in: SearchIn
    """What is searched: embeddings of `images` or of `captions`, or captions that hold all `words` of the text."""
    limit: int
    """Most images that are found."""
    phase: Phase
    files: int
    """Files of the upstream that are searched: those that had been ingested when the search was asked for."""
    all_files: int
    """Files that the upstream has."""
    searched: int | None = None
    """Images that the query was compared with; null while the search is under way."""
    results: tuple[FoundImage, ...] = ()
    """Best first; equal scores, and matches of words, in the upstream's order."""
    problems: tuple[Problem, ...] = ()
    """Why it failed, or which server it waits for."""
    created_at: datetime


class DescriptionPage(Page):
    items: tuple[DescriptionView, ...]


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


class DatasetPage(Page):
    items: tuple[Dataset, ...]


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
    updates: Annotated[int | None, WhenSet] = None
    validation: Annotated[float | None, WhenSet] = None
    """Accuracy on validation, by which epoch and learning rate were chosen."""
    test_set: Annotated[Name, WhenSet] = MAIN_TEST_SET
    test_images: int
    macro: float | None = None
    """Mean over classes; `value` is the mean over images."""
    top5: float | None = None
    calibration_error: float | None = None
    """Expected calibration error, 15 bins of equal width."""


class ManifestStep(Lenient):
    """Its id follows from what it computes, with what and from which inputs, before it has run."""

    id: StepId
    kind: str
    version: int = 1
    """Of the contract it was planned with."""
    role: str
    inputs: tuple[StepId, ...]


class TrainingSet(Lenient):
    """What one run was trained on."""

    target: Name
    arm: Name
    size: int
    seed: int
    digest: Digest
    """Of the ids of its images, in their order; an image's id is the sha256 of its bytes."""


class MadeWith(Lenient):
    """Finished steps that were computed with the same software on the same kind of machine."""

    kinds: tuple[str, ...]
    """Of these steps."""
    steps: int
    """How many there are."""
    environment: Environment
    """Software and machine of their workers."""


class ExperimentManifest(Lenient):
    """What decides an experiment's numbers, and what they were computed with. All but `made_with` and
    `made_with_unknown` is the same on another installation that measured the same."""

    identity: Digest
    """Of the spec and of the registered entries below."""
    spec: ExperimentSpec
    upstream: Upstream
    encoders: tuple[Encoder, ...]
    generators: tuple[Generator, ...]
    targets: tuple[Target, ...]
    datasets: tuple[Dataset, ...] = ()
    steps: tuple[ManifestStep, ...]
    """In an order in which they can be done."""
    training_sets: tuple[TrainingSet, ...]
    """Of the runs that have been tested."""
    accounts: tuple[SourceAccount, ...] = ()
    """What came in of each source."""
    made_with: tuple[MadeWith, ...] = ()
    """Software and hardware of the workers, those of most steps first. It decides no identity."""
    made_with_unknown: int = 0
    """Finished steps that recorded neither: those of earlier releases."""
    complete: bool
    """All evaluations are in."""
    results_digest: Digest
    """Of the result rows so far."""


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
    test_set: Name = MAIN_TEST_SET
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


class DrawnImages(Lenient):
    """What the training sets of a size hold of an arm's pool."""

    size: int
    images: int | None
    """Of each training set; None: curation kept too few images for this size. A mixture may add to its size."""


class ArmCuration(ArmCounts):
    report: CurationReport | None = None
    """By class, with scores and memorisation; None for pools curated before there was one."""
    drawn: tuple[DrawnImages, ...] = ()
    """Of each size of the experiment, the smallest first."""


class ArmLabels(Lenient):
    target: Name
    arm: Name
    card: LabelCard


class SourcesOfTarget(Lenient):
    target: Name
    arms: tuple[Name, Name]
    probe: SourceProbe | None
    """None: the arms have too few images of the same classes."""


class LabelCards(Lenient):
    """Label cards of the arms that train, as far as they are measured, and what tells the compared arms apart."""

    experiment: str
    judge: Name | None
    """The encoder that the labels were checked with; None: the experiment names none."""
    cards: tuple[ArmLabels, ...]
    sources: tuple[SourcesOfTarget, ...] = ()
    """Of the two arms compared, at the largest size and the first seed."""


class LinksOfClass(Lenient):
    """What the retrieved links of one class gave; `topped_up` of the `obtained` came from the reserve."""

    class_id: int
    display_name: str
    requested: int
    obtained: int
    topped_up: int
    reasons: dict[str, int]
    """Why links gave no image, those of the reserve included."""


class LinkReport(Lenient):
    """How much of an arm's retrieved links has rotted; classes whose download is under way are missing."""

    target: Name
    arm: Name
    classes: tuple[LinksOfClass, ...]

    @property
    def total(self) -> LinksOfClass:
        """Over the classes that are there, without a class of its own (-1); the most frequent reasons first."""
        reasons = Counter[str]()
        for entry in self.classes:
            reasons.update(entry.reasons)
        return LinksOfClass(
            class_id=-1,
            display_name="all classes",
            requested=sum(entry.requested for entry in self.classes),
            obtained=sum(entry.obtained for entry in self.classes),
            topped_up=sum(entry.topped_up for entry in self.classes),
            reasons=dict(reasons.most_common()),
        )


class SummaryRow(Lenient):
    """Mean and sample standard deviation over seeds."""

    target: Name
    arm: Name
    size: int
    metric: Metric
    test_set: Name = MAIN_TEST_SET
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


class Interval(Lenient):
    low: float
    high: float
    degrees_of_freedom: float
    p_value: float


class ComparisonResult(Lenient):
    """A difference accuracy(a) - accuracy(b) with its interval; method in docs/verdict.md."""

    target: Name | None
    """None: mean over targets."""
    size: int | None
    """None: mean over sizes."""
    class_id: int | None = None
    """None: all classes."""
    metric: Metric
    test_set: Name = MAIN_TEST_SET
    difference: float
    low: float
    high: float
    degrees_of_freedom: float
    p_value: float
    adjusted_p_value: float | None = None
    """Holm over the secondary comparisons, or over the classes."""
    answer: Answer
    seeds: int
    test_images: int
    clusters: int | None = None
    """Groups of test images that were drawn together; None: each was drawn by itself."""
    own: Interval | None = None
    """From the spread between seeds of the compared arms alone. One of the two is the interval above."""
    borrowed: Interval | None = None
    """From the spread of all arms and targets. None, as `own`: of one class, of seeds that may be looked at again and
    again, or in a verdict of before there was one."""


class BaselineCheck(Lenient):
    """An arm against the untouched encoder."""

    arm: Name
    metric: Metric
    target: Name | None = None
    """None, as `size`: averaged over those that the arm reached."""
    size: int | None = None
    difference: float
    low: float
    high: float
    below: bool
    """The interval lies below 0: a failed adaptation or a bad training set. At one target and size: by the p-value
    adjusted after Holm over all arms, targets and sizes in this metric."""
    above: bool = False
    """The same above 0: an improvement. False in verdicts of before it was asked."""
    adjusted_p_value: float | None = None
    """At one target and size."""


class TargetSample(Lenient):
    """The targets taken as a sample of tasks like them (random effects; docs/verdict.md)."""

    targets: int
    mean: float
    """Over tasks like these, of accuracy(a) - accuracy(b)."""
    low: float
    high: float
    new_low: float
    """The true difference at one more task like these lies between this and `new_high`."""
    new_high: float
    between: float
    """Standard deviation of true differences between targets."""
    answer: Answer
    """Of the mean."""


class DecisionChance(Lenient):
    """How likely more seeds or more test images would decide, those there are included."""

    seeds: int | None = None
    """Per arm; None: as many as there are."""
    test_images: int | None = None
    """Over all targets; None: as many as there are."""
    chance: float


class Cost(Lenient):
    cpu_seconds: float
    gpu_seconds: float
    money: float | None = None
    """In the currency of the prices; None where the price of something that was used is not known."""


class Prices(Lenient):
    """Of an hour of one CPU core and of one GPU. Both in one currency, which nothing here names or converts."""

    cpu_hour: float | None = None
    gpu_hour: float | None = None


class ArmCost(Lenient):
    """What one model of an arm cost, and what a point (0.01) of accuracy above the untouched encoder cost with it.

    A model is one run of the whole learning-rate grid on the arm's pool, averaged over targets, sizes and seeds. A
    step that several pools need, as indexing the upstream, is divided equally among them (target by target, arm by
    arm). Evaluation is not counted: it measures, whatever the arm."""

    arm: Name
    metric: Metric
    sourcing: Cost
    """Everything that led to the curated pool."""
    adapting: Cost
    gain: float | None
    """Accuracy above the untouched encoder, mean over targets and sizes; None: no untouched encoder to compare with."""
    per_point: Cost | None
    """None: nothing was gained."""
    per_point_at_least: Cost | None
    """At the upper end of the gain's interval."""
    per_point_at_most: Cost | None
    """At the lower end; None: the gain may be nothing, so there is no upper limit."""


class LearningRateCheck(Lenient):
    """Accuracy(a) - accuracy(b) on validation, with the rates the arms chose and with each other's."""

    target: Name | None = None
    """None, as `size`, `chosen_a` and `chosen_b`: the mean over targets and sizes."""
    size: int | None = None
    chosen_a: float | None = None
    chosen_b: float | None = None
    own: float
    swapped: float
    vanishes: bool
    """At least `delta` with the own choices; smaller, or the other way round, with the other's."""


class FailedRun(Lenient):
    """One that ended far below the other seeds of its arm and size, or below the untouched encoder as they did not."""

    target: Name
    arm: Name
    size: int
    seed: int
    """Its number in the experiment."""
    validation: float
    others: float
    """Median validation accuracy of the arm's other seeds at that size."""
    untouched: float | None
    """Validation accuracy of the untouched encoder."""


class FailedRunCheck(Lenient):
    """The primary comparison with and without runs that failed. Without them it is about the runs that do not fail."""

    runs: tuple[FailedRun, ...]
    left_out: bool
    """Whether the primary comparison is the one without them."""
    otherwise: ComparisonResult
    """The other way round."""


class SeedOverlap(Lenient):
    """How much the seeds of an arm have in common: they draw from one pool."""

    target: Name
    arm: Name
    size: int
    pool: int
    """Images that the seeds draw from."""
    shared: float
    """Expected share of one seed's images that another seed draws too."""


class ExchangeRate(Lenient):
    """How many images of b reach the accuracy of `images_a` images of a."""

    target: Name
    images_a: int
    images_b: float | None
    """None: outside the sizes measured for b, then one of the next two says on which side."""
    more_than: float | None = None
    at_most: float | None = None
    low: float | None = None
    """None: the interval begins below the smallest size of b. One that lies above all of them begins at the largest."""
    high: float | None = None
    """None: the interval ends above the largest size of b. One that lies below all of them ends at the smallest."""


class ScalingPoint(Lenient):
    size: int
    accuracy: float
    low: float | None
    high: float | None
    """None: one seed gives no interval."""
    forecast: bool
    """Larger than every size measured: what the law says, not what was seen."""


class ScalingFit(Lenient):
    """accuracy = ceiling - gap x (N / smallest size)^-exponent, fitted to the mean accuracies of an arm."""

    target: Name
    arm: Name
    metric: Metric
    test_set: Name = MAIN_TEST_SET
    ceiling: float
    """What the law tends to with ever more images: a forecast."""
    gap: float
    """From the ceiling to the accuracy at the smallest size."""
    exponent: float
    error: float
    """Root mean square distance of the measured means from the law; 0 with as many sizes as parameters, three."""
    points: tuple[ScalingPoint, ...]


class Scaling(Lenient):
    """Fits of every arm that has at least three sizes; none until every run is in."""

    experiment: str
    confidence: float
    fits: tuple[ScalingFit, ...]
    results_digest: Digest


class Verdict(Lenient):
    experiment: str
    a: Name
    b: Name
    delta: float
    confidence: float
    stopping: Stopping = "fixed"
    may_stop: str | None = None
    """With `anytime` and `planned`: whether the seeds so far are enough."""
    answer: Answer
    headline: str
    primary: ComparisonResult
    decided_by: Spread = "own"
    """Which of the two intervals is the one that decides."""
    paired_seeds: bool = False
    """The arms draw the same images or parents seed by seed, so seeds are compared in pairs."""
    failed_runs: FailedRunCheck | None = None
    """None: no run failed, or validation is not known."""
    seed_overlap: tuple[SeedOverlap, ...] = ()
    """Of both arms."""
    secondary: tuple[ComparisonResult, ...]
    classes: tuple[ComparisonResult, ...] = ()
    """The primary endpoint class by class, at each target. As all that follows, of the primary's test set."""
    class_groups: tuple[ClassGroup, ...] = ()
    """Changes of accuracy by difficulty of the classes and by their number of upstream images, unadjusted."""
    baseline: tuple[BaselineCheck, ...]
    """Every arm in every metric, averaged over targets and sizes."""
    baseline_by_size: tuple[BaselineCheck, ...] = ()
    """Every arm at each target and size."""
    target_sample: TargetSample | None = None
    """Of the primary endpoint, with three targets or more."""
    learning_rates: tuple[LearningRateCheck, ...] = ()
    """Empty where the arms chose alike; the last entry is the mean over targets and sizes."""
    exchange_rates: tuple[ExchangeRate, ...] = ()
    scaling: tuple[ScalingFit, ...] = ()
    """Of both arms, in every metric."""
    costs: tuple[ArmCost, ...] = ()
    """Of every arm that has finished everywhere and whose steps left their records, in the metric of the comparison."""
    prices: Prices = Prices()
    """What `money` in the costs was reckoned with."""
    would_decide: str | None = None
    spread: tuple[TargetSpread, ...] = ()
    """What the primary's interval comes from, by target: later experiments' power is computed with it. Empty where one
    seed says nothing, and in verdicts of before it was kept."""
    chances: tuple[DecisionChance, ...] = ()
    """What `would_decide` says, in numbers; where the answer is "undecided"."""
    warnings: tuple[str, ...] = ()
    registration: Registration | None = None
    """What was declared before it ran; None in verdicts about predictions made elsewhere, or of before it was kept."""
    added_later: tuple[str, ...] = ()
    """What was not declared before results could be seen."""
    results_digest: Digest

    @property
    def caveats(self) -> tuple[str, ...]:
        """All that a reader should know before believing it."""
        return (*self.warnings, *self.added_later)


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
    """Strategy, index and number of the template or pattern; empty if not retrieved."""
    query: str = ""
    """The filled-in template or the pattern that found it; empty if not retrieved."""
    part: Name | None = None
    """The arm of a mixture whose pool it came from; None outside a mixture."""
    page: str = ""
    """Address of the page that shows the image with everything that is stored about it."""


class ImagePage(Page):
    items: tuple[ImageView, ...]


class TrainingSetView(Lenient):
    """Which images an arm trains on: at a size and with a seed, or all that curation kept."""

    target: Name
    arm: Name
    size: int | None
    """None: every image of the curated pool that was kept."""
    seed: int | None
    """None with no size."""
    images: int
    images_by_class: tuple[int, ...]
    """In the order of class ids."""
    digest: Digest
    """Of the ids and class ids of its images, in their order."""
    trained_on: Digest | None = None
    """The digest that the run recorded; None before the run was tested, and with no size. Another one than `digest`
    says that the pool has changed since, as after a takedown."""


class TrainingImage(Lenient):
    """One image of a training set, and where it comes from. `url` answers its bytes, as they were trained on."""

    id: Digest
    class_id: int
    class_name: str
    url: str
    caption: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    source_kind: str
    """`upstream`, `generated`, `perturbed`, or `target`: a split of the target, or a data set with its class ids."""
    source_key: str
    """Key in the upstream, split or data set, URL of a link, number of the prompt, or the parent's key."""
    part: Name | None = None
    """The arm of a mixture whose pool it came from; None outside a mixture."""
    found_by: str = ""
    """Strategy, index and number of the template or pattern; empty if not retrieved."""
    query: str = ""
    """The filled-in template or the pattern that found it; empty if not retrieved."""
    similarity: float | None = None
    """Cosine to the query; None if not retrieved by likeness."""
    generator: Name | None = None
    """The registered generator that made it; None of other images."""
    model_digest: str = ""
    """The generator's digest; empty of other images."""
    tuning_digest: str = ""
    """Of the LoRA weights on the generator; empty without."""
    seed: int | None = None
    """Noise seed of an image that was made; None of others."""
    scheduler: str = ""
    """The sampler's; empty of images that were not made."""
    steps: int | None = None
    """Into which the sampler's noise schedule was cut."""
    guidance_scale: float | None = None
    """Classifier-free guidance it was sampled with."""
    gamma: float | None = None
    """Share of the noise schedule that a perturbed image went through."""
    parent: str = ""
    """Id of the image that it was perturbed from; empty of others."""
    score: float | None = None
    """Cosine to the texts of its own class, of the encoder that scores."""
    nearest_test_id: str = ""
    """Id of the most similar test image; empty where not compared."""
    nearest_test_cosine: float | None = None
    nearest_upstream_id: str = ""
    """Of a synthetic image, id of the most similar upstream image; empty where not compared."""
    nearest_upstream_cosine: float | None = None
    """Cosine to that image."""


class TrainingImagePage(Page):
    items: tuple[TrainingImage, ...]


class HeldOutImage(Lenient):
    """An image of a target's test sets or of its validation split. `url` answers its bytes."""

    id: Digest
    split: Name
    """Name of the test set, or `validation`."""
    class_id: int
    class_name: str
    caption: str
    source_key: str
    """Its key in the split."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    url: str


class OtherEntry(Lenient):
    """A further row of an arm's pool that holds the same image: it was found for another class, or by another part of a
    mixture."""

    class_id: int
    class_name: str
    kept: bool
    drop_reason: str
    page: str
    """Address of the page that shows this row."""


class CandidateImage(TrainingImage):
    """One candidate image of an arm with everything that is stored about it, whether it was kept or dropped."""

    row: int
    """Its row in the manifest of the arm's pool; one image may have several."""
    kept: bool
    drop_reason: str
    why: str
    """Why curation kept or dropped it, as a sentence."""
    nearest_test: HeldOutImage | None = None
    """The most similar test image; null where none was stored or it is no longer there."""
    nearest_validation_id: str = ""
    """Id of the most similar validation image; empty where not compared."""
    nearest_validation_cosine: float | None = None
    """Cosine similarity to the most similar validation image; null: not compared."""
    nearest_validation: HeldOutImage | None = None
    """The most similar validation image; null where not compared or it is no longer there."""
    parent_arm: Name | None = None
    """The arm whose image it was perturbed from; null for other images."""
    parent_url: str = ""
    """Address of the bytes of the image that it was perturbed from; empty for other images."""
    page: str = ""
    """Address of the page that shows this image."""
    other_entries: tuple[OtherEntry, ...] = ()
    """Further rows of the pool that hold the same image."""


class TrainingRun(Lenient):
    """One training of the encoder, epoch by epoch."""

    step: StepId
    """The step that trained it."""
    learning_rate: float | None
    """Peak learning rate; null for a recipe without one."""
    seed: int
    available: int
    """Images that the arm's pool holds."""
    updates: int
    best_epoch: int
    """The epoch whose weights are kept, by validation accuracy."""
    epochs: tuple[EpochScore, ...]
    """Of a recipe of two stages the second stage; empty where the pool was too small or nothing is trained by
    epochs."""
    first_stage: tuple[EpochScore, ...] = ()
    """The first stage of a recipe of two."""


class UnfinishedRun(Lenient):
    """A training that a worker is at, as the worker last told; it does so every few seconds."""

    step: StepId
    """The step that trains it."""
    learning_rate: float | None
    """Peak learning rate; null for a recipe without one."""
    seed: int
    epochs: tuple[EpochScore, ...]
    """Those that are done, of the stage that the training is in; empty until the worker has told of one."""
    planned_epochs: int | None
    """Epochs of that stage in all; null until the worker has told of one."""


class TrainingRuns(Lenient):
    """The runs of an arm at a size, over learning rates and seeds."""

    experiment: str
    target: Name
    arm: Name
    size: int
    planned: int
    """Number of runs that the experiment plans here."""
    runs: tuple[TrainingRun, ...]
    """Those that have finished, by learning rate and seed."""
    unfinished: tuple[UnfinishedRun, ...] = ()
    """Those that workers are at, by learning rate and seed."""


class Event(Lenient):
    """One line of an experiment's history, streamed over SSE; `id` resumes."""

    id: int
    event: str
    at: datetime
    data: dict[str, Any]
