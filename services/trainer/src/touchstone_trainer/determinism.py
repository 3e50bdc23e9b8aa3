"""Training that repeats bit for bit on a GPU, for every model that can."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from touchstone_runtime.logs import get_logger

log = get_logger(__name__)

NO_KERNEL = "does not have a deterministic implementation"
"""What torch says of an operation in its strict mode."""

ResultT = TypeVar("ResultT")


def repeatable(work: Callable[[], ResultT], device: torch.device) -> ResultT:
    """What `work` returns, computed by deterministic kernels alone. Where an operation has none, `work` starts anew and
    may use that operation: the model still trains, and the log says that its bytes may differ from run to run.

    torch's mode that only warns is not enough: in it the gradient of attention is not deterministic. CPUs need none of
    this."""
    if device.type == "cpu":
        return work()
    try:
        with _strict():
            return work()
    except RuntimeError as error:
        if NO_KERNEL not in str(error):
            raise
        reason = str(error).partition(".")[0]
    log.warning("training.not_repeatable", reason=reason)
    return work()


@contextmanager
def _strict() -> Iterator[None]:
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    enabled = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
