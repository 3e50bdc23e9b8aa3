"""Runs checks one after another within their time; a check that breaks says so and the next one runs."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from gpu.findings import Figure, Finding, Setting
from gpu.record import Record

LIMIT_S = 440
"""Of all checks together; eight minutes with what installing and importing take."""


@dataclass(frozen=True)
class Check:
    name: str
    run: Callable[[Setting], Iterator[Finding]]
    configure: Callable[[int], None]
    """How the worker sets torch up in which this code runs."""
    budget_s: int
    """On a data-centre card with a few CPU cores, estimated with room."""
    small_findings: int
    """How many things it looks at on a CPU at small sizes."""


def run_all(
    checks: Sequence[Check], setting: Setting, limit_s: float = LIMIT_S, clock: Callable[[], float] = time.monotonic
) -> Iterator[Record]:
    """What earlier checks left of their budgets, a later one may use; one for which nothing is left is not started."""
    end = clock() + limit_s
    for position, check in enumerate(checks):
        allowed_s = end - clock() - sum(later.budget_s for later in checks[position + 1 :])
        if allowed_s <= 0:
            yield Record(check.name, budget_s=check.budget_s, outcome="not started")
            continue
        yield run(check, setting, allowed_s)
        if setting.device.type == "cuda":
            torch.cuda.empty_cache()


def run(check: Check, setting: Setting, allowed_s: float = math.inf) -> Record:
    record = Record(check.name, budget_s=check.budget_s)
    check.configure(0)
    started = time.monotonic()
    try:
        for finding in check.run(setting):
            record.findings.append(finding)
            print(f"  {line(finding)}", flush=True)
            if time.monotonic() - started > allowed_s:
                record.outcome = "cut off"
                break
    except Exception as error:  # whatever is wrong with one path, the others are still worth looking at
        record.outcome = f"{type(error).__name__}: {error}"
    record.seconds = round(time.monotonic() - started, 1)
    return record


def line(finding: Finding) -> str:
    word = {True: "ok    ", False: "FAILED", None: "      "}[finding.passed]
    figures = ", ".join(f"{name} {shown(value)}" for name, value in finding.figures.items())
    return f"{word} {finding.what}: {figures}" if figures else f"{word} {finding.what}"


def shown(value: Figure) -> str:
    """Three digits of a measured number."""
    return f"{value:.3g}" if isinstance(value, float) and math.isfinite(value) else str(value)
