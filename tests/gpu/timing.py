"""Seconds, floating-point operations and the share of a card's peak."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from gpu.findings import Finding, Setting
from gpu.peaks import peak_tflops
from torch.utils.flop_counter import FlopCounterMode

MEASURED_S = 0.5
"""At least so long, after the warm-up."""
WARM_UPS = 3


def finish(device: torch.device) -> None:
    """Waits for work that was only queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], setting: Setting) -> float:
    """Median over calls; a CPU at small sizes is asked once."""
    if setting.small:
        return once(work, setting.device)
    for _ in range(WARM_UPS):
        work()
    taken: list[float] = []
    while sum(taken) < MEASURED_S or len(taken) < WARM_UPS:
        taken.append(once(work, setting.device))
    return statistics.median(taken)


def once(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, what it queued on the device included."""
    finish(device)
    start = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - start


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of one call: of matrix products, convolutions and attention, two per multiply-add."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # attention as one operation is not counted
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


@contextmanager
def torch_as_it_comes() -> Iterator[None]:
    """For the other side of a comparison, which does not promise to repeat: kernels need not be deterministic, and
    convolutions may use TF32."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    tf32 = torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        torch.backends.cudnn.allow_tf32 = tf32


def swept(
    what: str,
    work: Callable[[int], Callable[[], object]],
    sizes: Sequence[int],
    precision: str,
    setting: Setting,
    images_per_call: Callable[[int], float] = float,
) -> Iterator[Finding]:
    """Images per second at every batch size, then the best of them. A size that does not fit ends the sweep.

    `work(size)` prepares one call; `images_per_call(size)` is what a call is worth, the batch size unless said."""
    rates: dict[int, float] = {}
    for size in sizes:
        try:
            call = work(size)
            done = operations(call)
            taken = seconds(call, setting)
        except torch.OutOfMemoryError:
            taken = math.inf  # told below: until this block ends, the error holds what filled the device
        if taken == math.inf:
            yield Finding(f"{what}, batch {size}", None, {"outcome": "does not fit"})
            break
        rates[size] = images_per_call(size) / taken
        figures = {"images_per_s": rates[size], **share(done, taken, precision, setting)}
        yield Finding(f"{what}, batch {size}", None, figures)
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
    if rates:
        best = max(rates, key=lambda size: rates[size])
        yield Finding(f"{what}, best batch", None, {"batch": best, "images_per_s": rates[best]})


def price_of_repeating(
    what: str, ours: Callable[[], object], free: Callable[[], object], size: int, setting: Setting
) -> Finding:
    """The same work by deterministic kernels and by those that torch chooses."""
    with torch_as_it_comes():
        chosen = seconds(free, setting)
    figures = {"batch": size, "times_as_long": seconds(ours, setting) / chosen}
    return Finding(f"{what}, price of repeating", None, figures)


def share(done: int, taken: float, precision: str, setting: Setting) -> dict[str, float]:
    """TFLOP/s, and their share of what the card's maker states for that precision, if the card is known."""
    rate = done / taken / 1e12
    peak = peak_tflops(torch.cuda.get_device_name(setting.device), precision) if setting.device.type == "cuda" else None
    return {"tflops": rate} | ({"share_of_peak": rate / peak} if peak else {})
