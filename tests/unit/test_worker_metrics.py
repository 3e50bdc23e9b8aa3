"""What a worker tells Prometheus about its steps, caches and GPU."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from prometheus_client import generate_latest
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.messages import StepMessage, StepReport
from touchstone_contracts.problems import Invalid, Transient
from touchstone_contracts.steps import WRITE_PROMPTS, PromptsWritten, WritePrompts
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.caches import CacheUse
from touchstone_runtime.metrics import FewValues, Unit, WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, Progress, StepRunner

KIND = WRITE_PROMPTS.name
REQUEST = WritePrompts(classes=(ClassLabel(id=0, display_name="cat"),), templates=("a {name}",), images_per_class=2)
MESSAGE = StepMessage(
    step_id=WRITE_PROMPTS.step_id(REQUEST),
    attempt=1,
    kind=KIND,
    version=WRITE_PROMPTS.version,
    request=REQUEST.model_dump(mode="json"),
)
Work = Callable[[Progress], None]


class Silent:
    def send(self, report: StepReport) -> None:
        pass

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False


@dataclass
class Bench:
    """A worker whose only handler does `work`."""

    work: Work = lambda progress: None
    unit: Unit | None = None
    holds_gpu: bool = False
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
    artifacts: Artifacts = field(default_factory=lambda: Artifacts(MemoryObjects()))

    def run(self, message: StepMessage = MESSAGE) -> None:
        handlers = Handlers[Artifacts]("generator")

        @handlers.serve(WRITE_PROMPTS, progress_counts=self.unit)
        def serve(request: WritePrompts, tools: Artifacts, progress: Progress) -> PromptsWritten:
            self.work(progress)
            return PromptsWritten(prompts=tools.put_blob(b"prompts"), count=2)

        StepRunner(
            handlers, self.artifacts, self.artifacts, Silent(), self.metrics, "w", 60.0, holds_gpu=self.holds_gpu
        ).run(message)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


def fail(error: Exception) -> Work:
    def work(progress: Progress) -> None:
        raise error

    return work


def test_a_computed_step_is_observed_once_in_every_phase_and_a_found_one_in_none() -> None:
    bench = Bench()
    for _ in range(2):
        bench.run()
    assert bench.value("touchstone_steps_total", kind=KIND, outcome="computed") == 1
    assert bench.value("touchstone_steps_total", kind=KIND, outcome="found") == 1
    for phase in ("load", "compute", "store"):
        assert bench.value("touchstone_step_phase_seconds_count", kind=KIND, phase=phase) == 1
    assert bench.value("touchstone_step_phase_seconds_count", kind=KIND, phase="queue") is None


@pytest.mark.parametrize(
    ("error", "code"),
    [(Invalid("bad"), "invalid"), (Transient("away", code="index"), "index"), (KeyError("a bug"), "bug")],
)
def test_a_failed_attempt_is_counted_by_the_code_of_its_problem(error: Exception, code: str) -> None:
    bench = Bench(fail(error))
    bench.run()
    assert bench.value("touchstone_step_failures_total", kind=KIND, code=code) == 1
    assert bench.value("touchstone_steps_total", kind=KIND, outcome="failed") == 1
    assert bench.value("touchstone_step_phase_seconds_count", kind=KIND, phase="compute") is None


def test_messages_with_invented_kinds_make_one_series() -> None:
    bench = Bench()
    for kind in ("first_invention", "second_invention"):
        bench.run(MESSAGE.model_copy(update={"kind": kind}))
    assert bench.value("touchstone_step_failures_total", kind="unknown", code="not_served") == 2
    assert b"invention" not in generate_latest(bench.metrics.registry)


def test_codes_beyond_the_first_hundred_are_counted_together() -> None:
    few = FewValues(most=100)
    assert [few(f"code_{number}") for number in range(100)] == [f"code_{number}" for number in range(100)]
    assert {few(f"code_{number}") for number in range(100, 1000)} == {"other"}
    assert few("code_7") == "code_7"


def advance(*done: int) -> Work:
    def work(progress: Progress) -> None:
        for each in done:
            progress(each, 10)

    return work


@pytest.mark.parametrize(
    ("unit", "metric"), [("images", "touchstone_images_total"), ("updates", "touchstone_updates_total")]
)
def test_progress_in_images_or_updates_is_counted_as_it_is_made(unit: Unit, metric: str) -> None:
    bench = Bench(advance(4, 4, 10, 3, 6), unit)  # the captions of an embedded shard come after its images
    bench.run()
    assert bench.value(metric, kind=KIND) == 10


def test_progress_of_another_kind_is_counted_nowhere() -> None:
    bench = Bench(advance(10))
    bench.run()
    assert bench.value("touchstone_images_total", kind=KIND) is None
    assert bench.value("touchstone_updates_total", kind=KIND) is None


def test_a_failed_attempt_held_its_gpu_too() -> None:
    bench = Bench(fail(Invalid("bad")), holds_gpu=True)
    bench.run()
    held, busy = (bench.value(f"touchstone_{name}_seconds_total", kind=KIND) for name in ("gpu", "busy"))
    assert held is not None
    assert busy is not None
    assert 0 < held <= busy
    without = Bench(fail(Invalid("bad")))
    without.run()
    assert without.value("touchstone_gpu_seconds_total", kind=KIND) is None


def test_a_step_that_runs_shows_before_it_ends_and_counts_once() -> None:
    bench = Bench(holds_gpu=True)
    seen: list[float] = []

    def look(progress: Progress) -> None:
        for _ in range(2):
            held = bench.value("touchstone_gpu_seconds_total", kind=KIND)
            assert held is not None
            seen.append(held)

    bench.work = look
    bench.run()
    ended = bench.value("touchstone_gpu_seconds_total", kind=KIND)
    assert ended is not None
    assert 0 < seen[0] < seen[1] < ended
    assert bench.value("touchstone_gpu_seconds_total", kind=KIND) == ended


def test_series_begin_at_zero_so_that_a_first_failure_is_a_rise() -> None:
    bench = Bench()
    bench.metrics.expect({KIND: "images", "adapt_encoder": "updates"})
    for kind in (KIND, "adapt_encoder"):
        assert bench.value("touchstone_step_failures_total", kind=kind, code="bug") == 0
        assert bench.value("touchstone_steps_total", kind=kind, outcome="failed") == 0
        assert bench.value("touchstone_gpu_seconds_total", kind=kind) == 0
    assert bench.value("touchstone_images_total", kind=KIND) == 0
    assert bench.value("touchstone_updates_total", kind="adapt_encoder") == 0
    assert bench.value("touchstone_images_total", kind="adapt_encoder") is None


def test_caches_tell_hits_and_misses_at_the_scrape() -> None:
    bench, use = Bench(), CacheUse()
    bench.metrics.watch_caches({"encoder": use, "splits": CacheUse(hits=1)})
    for hit in (False, True, True):
        use.count(hit)
    found = {
        (cache, outcome): bench.value("touchstone_cache_requests_total", cache=cache, outcome=outcome)
        for cache in ("encoder", "splits")
        for outcome in ("hit", "miss")
    }
    assert found == {("encoder", "hit"): 2, ("encoder", "miss"): 1, ("splits", "hit"): 1, ("splits", "miss"): 0}


@dataclass
class FakeCuda:
    initialized: bool = True
    lost: bool = False

    def is_initialized(self) -> bool:
        return self.initialized

    def get_device_name(self) -> str:
        return "fake"

    def mem_get_info(self) -> tuple[int, int]:
        if self.lost:
            raise RuntimeError("CUDA error: unspecified launch failure")
        assert self.initialized, "asking would take memory of the GPU"
        return 30, 100

    def memory_allocated(self) -> int:
        return 50

    def memory_reserved(self) -> int:
        return 60


def memory(cuda: FakeCuda) -> dict[str, float | None]:
    bench = Bench()
    bench.metrics.watch_gpu(cuda)
    states = ("total", "used", "reserved", "allocated")
    return {state: bench.value("touchstone_gpu_memory_bytes", state=state) for state in states}


def test_memory_of_the_gpu_is_read_at_the_scrape() -> None:
    assert memory(FakeCuda()) == {"total": 100, "used": 70, "reserved": 60, "allocated": 50}


def test_a_gpu_that_is_not_in_use_is_not_touched() -> None:
    assert memory(FakeCuda(initialized=False)) == {"total": 0, "used": 0, "reserved": 0, "allocated": 0}


def test_a_lost_gpu_does_not_break_the_scrape() -> None:
    assert set(memory(FakeCuda(lost=True)).values()) == {None}


def test_the_process_itself_is_measured() -> None:
    assert (Bench().value("process_resident_memory_bytes") or 0) > 1_000_000
