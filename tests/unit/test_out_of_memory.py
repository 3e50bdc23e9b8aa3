"""Memory that runs out in a step: what is reported, what is given back, and that the worker goes on."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from support.prompts_step import MESSAGE
from support.tiny_models import tiny_encoder
from support.tiny_pipeline import tiny_generator
from touchstone_contracts.messages import HostMemory, StepFailed, StepProgressed, StepReport, StepSucceeded
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import WRITE_PROMPTS, ModelRef, PromptsWritten, WritePrompts
from touchstone_encoders.devices import torch_memory
from touchstone_encoders.loading import EncoderCache
from touchstone_generator import devices as generator_devices
from touchstone_generator.pipelines import GeneratorCache
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.library import Library
from touchstone_runtime.memory import Memory, OutOfMemory, asked_bytes, host_memory
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, Progress, StepRunner

MORE_THAN_ANY_MACHINE_HAS = 2**50


@dataclass
class Worker:
    """A runner whose one handler does what `work` says; `released` holds what was still alive at each release."""

    work: Callable[[], None]
    sent: list[StepReport] = field(default_factory=list)
    alive: weakref.WeakSet[torch.Tensor] = field(default_factory=weakref.WeakSet)
    released: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        handlers = Handlers[Artifacts]("generator")

        @handlers.serve(WRITE_PROMPTS)
        def hold_and_work(request: WritePrompts, artifacts: Artifacts, progress: Progress) -> PromptsWritten:
            held = torch.ones(4)
            self.alive.add(held)
            self.work()
            return PromptsWritten(prompts=artifacts.put_blob(b"prompts"), count=int(held.sum()))

        artifacts = Artifacts(MemoryObjects())
        memory = Memory(errors=(torch.OutOfMemoryError,), release=lambda: self.released.append(len(self.alive)))
        self.runner = StepRunner(handlers, artifacts, artifacts, self, WorkerMetrics(), "w", 60.0, memory=memory)

    def send(self, report: StepReport) -> None:
        self.sent.append(report)

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False

    def run(self) -> StepReport:
        self.runner.run(MESSAGE)
        return self.sent[-1]


def raise_on_the_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def raise_in_python() -> None:
    raise MemoryError


def take_too_much_of_the_host() -> None:
    torch.empty(MORE_THAN_ANY_MACHINE_HAS)


def raise_without_a_type() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


def fail_while_loading() -> None:
    try:
        raise_on_the_gpu()
    except RuntimeError as error:
        raise Invalid("open_clip cannot load it", code="encoder_unloadable") from error


@pytest.mark.parametrize(
    "work",
    [raise_on_the_gpu, raise_in_python, take_too_much_of_the_host, raise_without_a_type, fail_while_loading],
)
def test_memory_that_runs_out_is_a_passing_failure_that_says_what_to_do(work: Callable[[], None]) -> None:
    worker = Worker(work)
    ended = worker.run()
    assert isinstance(ended, StepFailed)
    assert (ended.problem.code, ended.problem.status, ended.retryable) == ("out_of_memory", 503, True)
    assert "take a smaller batch" in ended.problem.detail
    assert "fewer workers share one device" in ended.problem.detail


def test_the_problem_passes_on_what_the_library_said_about_the_amount() -> None:
    ended = Worker(raise_on_the_gpu).run()
    assert isinstance(ended, StepFailed)
    assert "Tried to allocate 20.00 GiB" in ended.problem.detail


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.1 GiB", 20 * 2**30),
        ("CUDA out of memory. Tried to allocate 512.00 MiB (GPU 0; 8 GiB total)", 2**29),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4503599627370496 bytes.", 2**52),
        ("Unable to allocate 7.45 GiB for an array with shape (1000000, 1000)", round(7.45 * 2**30)),
        ("", None),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", None),
    ],
)
def test_the_amount_that_was_asked_for_is_read_from_what_libraries_say(message: str, asked: int | None) -> None:
    assert asked_bytes(message) == asked
    told = str(Memory().translated(MemoryError(message)))
    assert ("when it asked for" in told) == (asked is not None)
    assert asked is None or f"{asked:,} bytes" in told


def test_what_torch_and_numpy_really_say_is_understood() -> None:
    for take in (take_too_much_of_the_host, lambda: np.empty(2**50)):
        with pytest.raises((RuntimeError, MemoryError)) as refused:
            take()
        asked = asked_bytes(str(refused.value))
        assert asked is not None
        assert asked >= 2**52


def test_progress_tells_how_much_memory_the_process_holds_and_could_take() -> None:
    before = host_memory()
    held = torch.ones(2**25)  # 128 MiB
    after = host_memory()
    assert before is not None
    assert after is not None
    assert after.held - before.held > 2**26
    assert after.free > 0
    assert not HostMemory(held=3, free=len(held)).is_short
    worker = Worker(lambda: None)
    Progress(MESSAGE, worker)(1, 2)
    [told] = worker.sent
    assert isinstance(told, StepProgressed)
    assert told.memory is not None


@pytest.mark.parametrize(("limit", "free"), [("1000000", 400_000), ("max", None)])
def test_a_container_may_take_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, free: int | None
) -> None:
    monkeypatch.setattr("touchstone_runtime.memory.CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 600000\ninactive_file 300000\n")
    told = host_memory()
    assert told is not None
    assert told.free == free if free is not None else told.free > 1_000_000


def test_nothing_holds_the_steps_arrays_when_memory_is_given_back() -> None:
    worker = Worker(raise_on_the_gpu)
    worker.run()
    assert worker.released == [0]


def test_the_next_step_on_the_same_worker_succeeds() -> None:
    worker = Worker(raise_on_the_gpu)
    assert isinstance(worker.run(), StepFailed)
    worker.work = lambda: None
    assert isinstance(worker.run(), StepSucceeded)
    assert len(worker.released) == 1


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), KeyError("a bug"), Invalid("no such class")])
def test_other_failures_stay_what_they_are_and_give_nothing_back(error: Exception) -> None:
    def fail() -> None:
        raise error

    worker = Worker(fail)
    ended = worker.run()
    assert isinstance(ended, StepFailed)
    assert not ended.retryable
    assert ended.problem.code in ("bug", "invalid")
    assert worker.released == []


def test_an_error_during_the_handling_of_another_is_still_memory_that_ran_out() -> None:
    def fail_twice() -> None:
        try:
            raise_on_the_gpu()
        except RuntimeError:
            dict[str, int]()["no fallback either"]

    with pytest.raises(KeyError) as raised:
        fail_twice()
    assert isinstance(Memory(errors=(torch.OutOfMemoryError,)).translated(raised.value), OutOfMemory)


def test_workers_forget_their_models_with_the_memory(tmp_path: Path) -> None:
    clip, diffusion = ModelRef.of(tiny_encoder(tmp_path)), ModelRef.of(tiny_generator(tmp_path))
    encoders = EncoderCache(Library(tmp_path), torch.device("cpu"))
    generators = GeneratorCache(Library(tmp_path), torch.device("cpu"))
    before = encoders.get(clip), generators.get(diffusion)
    assert (encoders.get(clip), generators.get(diffusion)) == before
    for memory in (torch_memory(encoders), generator_devices.torch_memory(generators)):
        assert memory.errors == (torch.OutOfMemoryError,)
        memory.give_back()
    assert encoders.get(clip) is not before[0]
    assert generators.get(diffusion) is not before[1]
