"""Memory that runs out in a step on the device: a clear error, memory given back, and the next step succeeds."""

from collections.abc import Callable, Iterator

import torch
from gpu.findings import Finding, Setting
from support.prompts_step import MESSAGE
from support.sent_reports import SentReports
from touchstone_contracts.messages import StepFailed, StepSucceeded
from touchstone_contracts.steps import WRITE_PROMPTS, PromptsWritten, WritePrompts
from touchstone_encoders.devices import torch_memory
from touchstone_encoders.loading import EncoderCache
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Handlers, Progress, StepRunner

MORE_THAN_ANY_DEVICE_HAS = 2**46
"""Float32 values: more than a process can address, so that a host which promises memory it does not have refuses."""


def a_step_too_large(setting: Setting) -> Iterator[Finding]:
    reports = SentReports()
    wishes: list[Callable[[torch.device], int]] = [fill_the_device, take_a_little]
    runner = _runner(setting, reports, wishes)
    before = held(setting.device)
    runner.run(MESSAGE)
    failed, after = reports.sent[-1], held(setting.device)
    clear = isinstance(failed, StepFailed) and failed.problem.code == "out_of_memory" and failed.retryable
    said = failed.problem.detail if isinstance(failed, StepFailed) else type(failed).__name__
    yield Finding("the step fails with a clear error", clear, {"detail": said})
    yield Finding("what it held is given back", after <= before, {"bytes_before": before, "bytes_after": after})
    runner.run(MESSAGE)
    yield Finding("the next step succeeds", isinstance(reports.sent[-1], StepSucceeded))


def _runner(
    setting: Setting, reports: SentReports, wishes: list[Callable[[torch.device], int]]
) -> StepRunner[Artifacts]:
    handlers, artifacts = Handlers[Artifacts]("generator"), Artifacts(MemoryObjects())

    @handlers.serve(WRITE_PROMPTS)
    def work(request: WritePrompts, tools: Artifacts, progress: Progress) -> PromptsWritten:
        return PromptsWritten(prompts=tools.put_blob(b"prompts"), count=wishes.pop(0)(setting.device))

    memory = torch_memory(EncoderCache(Library(setting.folder), setting.device))
    return StepRunner(handlers, artifacts, artifacts, reports, WorkerMetrics(), "worker", 60.0, memory=memory)


def fill_the_device(device: torch.device) -> int:
    """Holds half of what a GPU has free, then asks for more than there is."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 2**20
    kept = torch.ones(free // 2, dtype=torch.uint8, device=device)
    return len(torch.empty(MORE_THAN_ANY_DEVICE_HAS, device=device)) + len(kept)


def take_a_little(device: torch.device) -> int:
    return int(torch.ones(2**10, device=device).sum())


def held(device: torch.device) -> int:
    """Bytes that torch took from the GPU, its reserve included; 0 on a CPU, which has no such count."""
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0
