"""Memory that runs out in a step: what is reported, what is given back, and that the worker goes on."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from support.tiny_models import tiny_encoder
from support.tiny_pipeline import tiny_generator
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.messages import StepFailed, StepMessage, StepReport, StepSucceeded
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import WRITE_PROMPTS, ModelRef, PromptsWritten, WritePrompts
from touchstone_encoders.devices import torch_memory
from touchstone_encoders.loading import EncoderCache
from touchstone_generator import devices as generator_devices
from touchstone_generator.pipelines import GeneratorCache
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.library import Library
from touchstone_runtime.memory import Memory, OutOfMemory
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, Progress, StepRunner

REQUEST = WritePrompts(classes=(ClassLabel(id=0, display_name="cat"),), templates=("a {name}",), images_per_class=2)
MESSAGE = StepMessage(
    step_id=WRITE_PROMPTS.step_id(REQUEST),
    attempt=1,
    kind=WRITE_PROMPTS.name,
    version=WRITE_PROMPTS.version,
    request=REQUEST.model_dump(mode="json"),
)
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

    def is_cancelled(self, step: str) -> bool:
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
