"""What travels through Redis: step messages to workers, reports and presence back. Everything else lies in the object
store."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from touchstone_contracts.problems import Problem
from touchstone_contracts.values import Blob, Lenient, StepId, is_empty, is_none

SHORT_OF_MEMORY = 0.1
"""A worker is short of memory when less than this fraction of what it holds and could take is free."""


class StepMessage(Lenient):
    """One attempt at one step."""

    step_id: StepId
    attempt: int = Field(ge=1)
    kind: str
    version: int
    request: dict[str, Any]
    traceparent: str | None = None
    """W3C context of the span that handed the step out; not part of its identity."""


class StepStarted(Lenient):
    event: Literal["started"] = "started"
    step_id: StepId
    attempt: int
    worker: str


class HostMemory(Lenient):
    """Of the machine, or of the part of it that the worker's container may use; in bytes."""

    held: int
    """By the worker's process."""
    free: int

    @property
    def is_short(self) -> bool:
        return self.free < SHORT_OF_MEMORY * (self.held + self.free)


class StepProgressed(Lenient):
    """Also renews the lease; sent as heartbeat while a step computes."""

    event: Literal["progressed"] = "progressed"
    step_id: StepId
    attempt: int
    done: int = 0
    total: int | None = None
    memory: HostMemory | None = Field(default=None, exclude_if=is_none)


class StepSucceeded(Lenient):
    event: Literal["succeeded"] = "succeeded"
    step_id: StepId
    attempt: int
    found: bool = False
    """The result was there already; nothing was computed."""


class StepFailed(Lenient):
    event: Literal["failed"] = "failed"
    step_id: StepId
    attempt: int
    problem: Problem
    retryable: bool
    log_tail: str = ""


StepReport = Annotated[StepStarted | StepProgressed | StepSucceeded | StepFailed, Field(discriminator="event")]
REPORTS: TypeAdapter[StepReport] = TypeAdapter(StepReport)


class LiveWorker(Lenient):
    """What a worker says of itself while it lives."""

    name: str
    """Of one process."""
    queue: str
    """Whose work it does."""
    channels: tuple[str, ...]
    """Of the contracts and versions that it serves."""


class Environment(Lenient):
    """What a worker computes with."""

    python: str
    """Version of the interpreter."""
    system: str
    """Operating system with its release and architecture."""
    cpu: str
    """Name of the processor."""
    cpus: int
    """CPUs that the worker's process may run on."""
    device: str
    """Name of the GPU that it has computed on; `cpu` where it has used none."""
    packages: dict[str, str]
    """Version of every installed Python package, by name."""


class StepManifest(Lenient):
    """Written last: a step is done when its manifest exists."""

    step_id: StepId
    kind: str
    version: int
    result: dict[str, Any]
    blobs: tuple[Blob, ...]
    """Every blob the result refers to, for verification, less those that were let go."""
    seconds: float
    cpu_seconds: float
    """Of the worker's process, over all its threads."""
    gpu_seconds: float = 0.0
    """`seconds` where the worker holds a GPU: nobody else can use it meanwhile."""
    worker: str
    environment: Environment | None = Field(default=None, exclude_if=is_none)
    """What it was computed with; None of steps of earlier releases. It is no part of the step's identity or result."""
    let_go: tuple[Blob, ...] = Field(default=(), exclude_if=is_empty)
    """Blobs that nobody reads any more and that were removed: the result is whole without them (decision 0050)."""

    @property
    def headline(self) -> str | None:
        """What a judgement found, in one sentence; None of other steps and of judgements of earlier releases."""
        found = self.result.get("headline")
        return found if isinstance(found, str) else None
