"""One message at a worker: what is computed, what is found, what is reported when it goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from support.prompts_step import MESSAGE
from touchstone_contracts.identity import sha256
from touchstone_contracts.keys import blob_key
from touchstone_contracts.messages import (
    Environment,
    StepFailed,
    StepMessage,
    StepProgressed,
    StepReport,
    StepSucceeded,
)
from touchstone_contracts.problems import Cancelled, Invalid, Transient
from touchstone_contracts.steps import (
    CATALOGUE,
    GENERATE_IMAGES,
    INGEST_IMAGES,
    WRITE_PROMPTS,
    PromptsWritten,
    WritePrompts,
)
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.environment import describe_environment
from touchstone_runtime.idleness import IdleTime
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, Progress, StepRunner, problem_of, worker_name
from touchstone_runtime.settings import WorkerSettings

Handler = Callable[[WritePrompts, Artifacts, Progress], PromptsWritten]


@dataclass
class FakeReporter:
    sent: list[StepReport] = field(default_factory=list)
    cancelled: bool = False
    latest: int = 1
    """The last attempt that was handed out."""
    dead: bool = False
    tries: int = 0

    def send(self, report: StepReport) -> None:
        self.tries += 1
        if self.dead:
            raise Transient("no redis", code="redis")
        self.sent.append(report)

    def is_unwanted(self, step: str, attempt: int) -> bool:
        if self.dead:
            raise Transient("no redis", code="redis")
        return self.cancelled or attempt < self.latest


@dataclass
class Bench:
    """A worker's parts around one handler."""

    handler: Handler
    objects: MemoryObjects = field(default_factory=MemoryObjects)
    reporter: FakeReporter = field(default_factory=FakeReporter)
    calls: int = 0
    holds_gpu: bool = False
    environment: Environment | None = None

    def run(self, message: StepMessage = MESSAGE) -> StepReport:
        artifacts, handlers = Artifacts(self.objects), Handlers[Artifacts]("generator")

        @handlers.serve(WRITE_PROMPTS)
        def counted(request: WritePrompts, tools: Artifacts, progress: Progress) -> PromptsWritten:
            self.calls += 1
            return self.handler(request, tools, progress)

        metrics = WorkerMetrics()
        parts = (handlers, artifacts, artifacts, self.reporter, metrics)
        StepRunner(*parts, "w", 60.0, self.holds_gpu, environment=lambda: self.environment).run(message)
        return self.reporter.sent[-1]


def write(request: WritePrompts, artifacts: Artifacts, progress: Progress) -> PromptsWritten:
    progress(1, 2)
    return PromptsWritten(prompts=artifacts.put_blob(b"prompts"), count=2)


def test_a_new_step_is_computed_and_reported_from_start_to_end() -> None:
    bench = Bench(write)
    bench.run()
    assert [report.event for report in bench.reporter.sent] == ["started", "progressed", "succeeded"]
    manifest = Artifacts(bench.objects).manifest(MESSAGE.step_id)
    assert manifest is not None
    assert [blob.digest for blob in manifest.blobs] == [sha256(b"prompts")]


def test_software_and_hardware_stand_beside_the_result_and_change_nothing_of_it() -> None:
    here = describe_environment("Some Card")
    benches = [Bench(write), Bench(write, environment=here)]
    manifests = []
    for bench in benches:
        bench.run()
        manifests.append(Artifacts(bench.objects).manifest(MESSAGE.step_id))
    without, described = manifests
    assert without is not None
    assert described is not None
    assert (without.environment, described.environment) == (None, here)
    assert "environment" not in without.model_dump()
    assert (without.step_id, without.result, without.blobs) == (described.step_id, described.result, described.blobs)


@pytest.mark.parametrize("holds_gpu", [False, True])
def test_a_step_holds_its_workers_gpu_for_as_long_as_it_takes(holds_gpu: bool) -> None:
    bench = Bench(write, holds_gpu=holds_gpu)
    bench.run()
    manifest = Artifacts(bench.objects).manifest(MESSAGE.step_id)
    assert manifest is not None
    assert manifest.gpu_seconds == (manifest.seconds if holds_gpu else 0.0)


def test_a_found_result_is_not_computed_again() -> None:
    bench = Bench(write)
    bench.run()
    ended = bench.run(MESSAGE.model_copy(update={"attempt": 2}))
    assert isinstance(ended, StepSucceeded)
    assert (ended.found, ended.attempt, bench.calls) == (True, 2, 1)


def test_a_result_whose_bytes_are_gone_is_computed_again() -> None:
    bench = Bench(write)
    bench.run()
    bench.objects.remove(blob_key(sha256(b"prompts")))
    ended = bench.run()
    assert isinstance(ended, StepSucceeded)
    assert (ended.found, bench.calls) == (False, 2)
    assert Artifacts(bench.objects).verified(MESSAGE.step_id) is not None


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (Invalid("no such class"), "invalid", False),
        (Transient("index is away", code="index"), "index", True),
        (Cancelled("nobody wants it"), "cancelled", False),
        (KeyError("a bug"), "bug", False),
    ],
)
def test_a_failure_is_reported_in_its_family_and_leaves_no_result(error: Exception, code: str, retryable: bool) -> None:
    def fail(request: WritePrompts, artifacts: Artifacts, progress: Progress) -> PromptsWritten:
        raise error

    bench = Bench(fail)
    ended = bench.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, ended.retryable) == (code, retryable)
    assert Artifacts(bench.objects).manifest(MESSAGE.step_id) is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"step_id": "0" * 64}, "identity_mismatch"),
        ({"request": {"classes": 1}}, "malformed_request"),
        ({"version": 9}, "not_served"),
        ({"kind": INGEST_IMAGES.name, "version": INGEST_IMAGES.version}, "not_served"),
    ],
)
def test_a_message_that_is_not_what_it_says_is_refused(changes: dict[str, object], code: str) -> None:
    bench = Bench(write)
    ended = bench.run(MESSAGE.model_copy(update=changes))
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, bench.calls) == (code, 0)


def test_an_unwanted_step_stops_at_its_next_progress() -> None:
    reporter = FakeReporter()

    def cancelled_meanwhile(request: WritePrompts, artifacts: Artifacts, progress: Progress) -> PromptsWritten:
        reporter.cancelled = True
        return write(request, artifacts, progress)

    bench = Bench(cancelled_meanwhile, reporter=reporter)
    ended = bench.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, bench.calls) == ("cancelled", 1)


def test_an_attempt_is_not_begun_once_another_was_handed_out() -> None:
    bench = Bench(write, reporter=FakeReporter(latest=2))
    ended = bench.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, ended.retryable, bench.calls) == ("cancelled", False, 0)
    assert isinstance(bench.run(MESSAGE.model_copy(update={"attempt": 2})), StepSucceeded)


def test_an_old_attempt_whose_result_is_there_is_reported_all_the_same() -> None:
    bench = Bench(write)
    bench.run()
    bench.reporter.latest = 2
    assert isinstance(bench.run(), StepSucceeded)


def test_progress_is_throttled_but_remembered() -> None:
    reporter = FakeReporter()
    progress = Progress(MESSAGE, reporter)
    for done in range(1000):
        progress(done, 1000)
    assert len(reporter.sent) == 1
    progress.beat()
    last = reporter.sent[-1]
    assert isinstance(last, StepProgressed)
    assert (last.done, last.total) == (999, 1000)


def test_work_waits_for_a_silent_redis_once_and_tells_of_itself_once_a_heartbeat_was_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("touchstone_runtime.serving.REPORT_INTERVAL", 0.0)
    reporter = FakeReporter(dead=True)
    progress = Progress(MESSAGE, reporter)
    for done in range(10):
        progress(done, 20)
    assert (reporter.tries, reporter.sent) == (1, [])
    reporter.dead = False
    progress(10, 20)
    assert reporter.sent == []
    progress.beat()
    progress(11, 20)
    assert [report.done for report in reporter.sent if isinstance(report, StepProgressed)] == [10, 11]


def test_a_step_is_computed_though_nobody_hears_of_its_start() -> None:
    reporter = FakeReporter(dead=True)

    def heard_again(request: WritePrompts, artifacts: Artifacts, progress: Progress) -> PromptsWritten:
        reporter.dead = False
        return write(request, artifacts, progress)

    assert isinstance(Bench(heard_again, reporter=reporter).run(), StepSucceeded)


def test_a_bug_tells_its_line_and_no_more() -> None:
    def broken() -> None:
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError) as caught:
        broken()
    problem = problem_of(caught.value)
    assert problem.code == "bug"
    assert problem.detail.startswith("ZeroDivisionError: division by zero at broken line ")


def test_a_worker_with_an_unserved_or_a_foreign_contract_does_not_start() -> None:
    handlers = Handlers[Artifacts]("generator")
    handlers.serve(WRITE_PROMPTS)(write)
    with pytest.raises(ValueError, match=GENERATE_IMAGES.name):
        handlers.require_complete()
    with pytest.raises(ValueError, match="served twice"):
        handlers.serve(WRITE_PROMPTS)(write)
    with pytest.raises(ValueError, match="does not belong"):
        handlers.serve(INGEST_IMAGES)(lambda request, tools, progress: None)  # type: ignore[arg-type,return-value]
    assert CATALOGUE[INGEST_IMAGES.name].queue == "retrieval"


def test_a_worker_serves_its_kinds_in_every_version_that_its_release_does_and_no_other() -> None:
    handlers = Handlers[Artifacts]("generator")
    handlers.serve(WRITE_PROMPTS)(write)
    assert list(handlers.served()) == ["write_prompts.2", "write_prompts.1"]


def test_a_message_that_its_worker_does_not_serve_is_refused_for_good_and_told_what_is_served() -> None:
    ended = Bench(write).run(MESSAGE.model_copy(update={"version": 9}))
    assert isinstance(ended, StepFailed)
    assert not ended.retryable
    for fact in ("write_prompts version 9", "write_prompts.1, write_prompts.2", "retry the experiment"):
        assert fact in ended.problem.detail


def test_a_worker_is_named_by_its_setting_or_its_process() -> None:
    assert worker_name(WorkerSettings(worker_name="gpu-7"), "trainer") == "gpu-7"
    assert worker_name(WorkerSettings(worker_name=""), "trainer").startswith("trainer@")


def test_idle_time_counts_from_the_end_of_the_last_step_and_not_while_one_runs_or_before_the_first_may() -> None:
    moment = [0.0]
    idle = IdleTime(lambda: moment[0])

    def seconds_at(second: float) -> float:
        moment[0] = second
        return idle.seconds()

    assert seconds_at(100) == 0
    idle.begin()
    assert seconds_at(110) == 10
    with idle.busy():
        assert seconds_at(500) == 0
    assert seconds_at(507) == 7
