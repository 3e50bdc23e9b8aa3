"""How KEDA decides how many Jobs to create for a ScaledJob: its arithmetic (2.16), fed with a manifest.

After the ScaledJob specification and pkg/scaling of kedacore/keda: each poll, a trigger with a value above its
activation value (0) is active and asks for value / target Jobs; `multipleScalersCalculation` merges active triggers;
`scalingStrategy` takes off the Jobs that are there. KEDA creates Jobs and never ends one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Trigger:
    """A `metrics-api` trigger with `format: prometheus`."""

    location: str
    """A sample of the scraped page, e.g. `touchstone_queue_steps{queue="trainer",state="queued"}`."""
    target: float

    def value(self, page: str) -> float:
        """Raises LookupError when the page does not have it."""
        [asked] = _samples(f"{self.location} 0\n")
        for sample in _samples(page):
            if (sample.name, sample.labels) == (asked.name, asked.labels):
                return sample.value
        raise LookupError(f"{self.location} is not on the page")


def _samples(page: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(page) for sample in family.samples]


MERGE: dict[str, Callable[[list[float]], float]] = {"sum": sum, "max": max, "min": min}
"""By `multipleScalersCalculation`."""


@dataclass(frozen=True)
class ScaledJob:
    triggers: tuple[Trigger, ...]
    polling_seconds: float
    max_replicas: int
    strategy: str
    calculation: str
    idle_seconds: float
    """After which a worker that it started ends itself: no setting of KEDA's, but of the pod."""

    def jobs_to_create(self, page: str, *, running: int, pending: int) -> int:
        """`running`: Jobs that have not ended, `pending`: those among them whose pod does not run yet."""
        values = [(trigger.value(page), trigger.target) for trigger in self.triggers]
        active = [(value, value / target) for value, target in values if value > 0]
        merge = MERGE[self.calculation]
        if not active:
            return 0
        length, wanted = merge([value for value, _ in active]), merge([jobs for _, jobs in active])
        free = self._less_what_is_there(math.ceil(min(wanted, self.max_replicas)), running, pending)
        return max(0, min(math.ceil(length), free))

    def _less_what_is_there(self, wanted: int, running: int, pending: int) -> int:
        if self.strategy == "default":
            return wanted - running
        if self.strategy == "accurate":
            over = wanted + running > self.max_replicas
            return self.max_replicas - running if over else wanted - pending
        raise ValueError(f"strategy {self.strategy!r} is not modelled")


def scaled_job(manifest: dict[str, Any]) -> ScaledJob:
    """Of a rendered manifest. Raises KeyError for what it leaves to KEDA's defaults: the simulation shall not guess."""
    spec = manifest["spec"]
    [container] = spec["jobTargetRef"]["template"]["spec"]["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    return ScaledJob(
        triggers=tuple(
            Trigger(each["metadata"]["valueLocation"], float(each["metadata"]["targetValue"]))
            for each in spec["triggers"]
        ),
        polling_seconds=spec["pollingInterval"],
        max_replicas=spec["maxReplicaCount"],
        strategy=spec["scalingStrategy"]["strategy"],
        calculation=spec["scalingStrategy"]["multipleScalersCalculation"],
        idle_seconds=float(environment["TOUCHSTONE_EXIT_WHEN_IDLE_SECONDS"]),
    )
