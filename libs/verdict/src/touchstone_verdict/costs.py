"""What a point of accuracy cost: seconds of computing, and money where prices are known."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from touchstone_contracts.views import ArmCost, BaselineCheck, Cost, Prices, Verdict

SECONDS_PER_HOUR = 3600
POINT = 0.01


@dataclass(frozen=True, slots=True)
class Spent:
    """On one model of an arm, as ArmCost says."""

    sourcing: Cost
    adapting: Cost

    @property
    def total(self) -> Cost:
        return total([self.sourcing, self.adapting])


def total(costs: Iterable[Cost]) -> Cost:
    cpu, gpu = 0.0, 0.0
    for cost in costs:
        cpu, gpu = cpu + cost.cpu_seconds, gpu + cost.gpu_seconds
    return Cost(cpu_seconds=cpu, gpu_seconds=gpu)


def shared(cost: Cost, among: float) -> Cost:
    return Cost(cpu_seconds=cost.cpu_seconds / among, gpu_seconds=cost.gpu_seconds / among)


def arm_costs(spent: Mapping[str, Spent], metric: str, checks: Iterable[BaselineCheck]) -> tuple[ArmCost, ...]:
    """`checks`: every arm against the untouched encoder; those of other metrics are passed over."""
    gains = {check.arm: check for check in checks if check.metric == metric}
    return tuple(_arm_cost(arm, metric, cost, gains.get(arm)) for arm, cost in spent.items())


def _arm_cost(arm: str, metric: str, spent: Spent, gain: BaselineCheck | None) -> ArmCost:
    return ArmCost.model_validate(
        {
            "arm": arm,
            "metric": metric,
            "sourcing": spent.sourcing,
            "adapting": spent.adapting,
            "gain": gain.difference if gain else None,
            "per_point": _per_point(spent.total, gain.difference) if gain else None,
            "per_point_at_least": _per_point(spent.total, gain.high) if gain else None,
            "per_point_at_most": _per_point(spent.total, gain.low) if gain else None,
        }
    )


def _per_point(cost: Cost, gain: float) -> Cost | None:
    return shared(cost, gain / POINT) if gain > 0 else None


def priced(verdict: Verdict, prices: Prices) -> Verdict:
    """With the money beside the seconds."""
    costs = tuple(
        entry.model_copy(
            update={name: with_money(value, prices) for name, value in dict(entry).items() if isinstance(value, Cost)}
        )
        for entry in verdict.costs
    )
    return verdict.model_copy(update={"costs": costs, "prices": prices})


def with_money(cost: Cost, prices: Prices) -> Cost:
    """A sum that left out what has no price would look like the whole, so there is none."""
    used = ((cost.cpu_seconds, prices.cpu_hour), (cost.gpu_seconds, prices.gpu_hour))
    parts = [seconds * price if price is not None else None for seconds, price in used if seconds > 0]
    known = [part for part in parts if part is not None]
    money = sum(known) / SECONDS_PER_HOUR if len(known) == len(parts) else None
    return cost.model_copy(update={"money": money})
