"""An arm against itself: how often a verdict calls the same thing different (studies/same-arm).

`PYTHONPATH=tests python -m support.same_arm FILE`, a file of `touchstone predictions`, prints a table. The seeds of
each arm are cut into groups of six, three of them called `first` and three `second`; nothing differs but the seeds, so
that every difference the verdict sees is a false one."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from touchstone.predictions import read_predictions
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.views import Interval
from touchstone_verdict.judge import judge
from touchstone_verdict.predictions import Predictions

SEEDS = 3
SAME = Comparison(a="first", b="second", metric="zero_shot")


@dataclass(frozen=True)
class Compared:
    """One arm with itself, with both estimates of the spread between seeds."""

    arm: str
    targets: tuple[str, ...]
    borrowed: Interval
    own: Interval


def compare_with_itself(predictions: Predictions) -> Iterator[Compared]:
    """Every arm of more than one seed, at each target alone and over all targets together."""
    columns = {name: np.asarray(values) for name, values in predictions.items()}
    targets = sorted(set(columns["target"]))
    for arm in sorted(set(columns["arm"][columns["size"] > 0])):
        for group in [(target,) for target in targets] + ([tuple(targets)] if len(targets) > 1 else []):
            chosen = (columns["arm"] == arm) & np.isin(columns["target"], group) & (columns["metric"] == SAME.metric)
            yield from _in_groups(arm, group, {name: values[chosen] for name, values in columns.items()})


def _in_groups(arm: str, targets: tuple[str, ...], columns: dict[str, np.ndarray]) -> Iterator[Compared]:
    seeds = sorted(set(columns["seed"]))
    for start in range(0, len(seeds) - 2 * SEEDS + 1, 2 * SEEDS):
        index = np.searchsorted(seeds, columns["seed"]) - start
        inside = (index >= 0) & (index < 2 * SEEDS)
        table: dict[str, np.ndarray] = {name: values[inside] for name, values in columns.items()}
        table["arm"] = np.where(index[inside] < SEEDS, SAME.a, SAME.b)
        table["seed"] = index[inside] % SEEDS
        primary = judge(table, SAME).primary
        assert primary.borrowed is not None
        assert primary.own is not None
        yield Compared(arm, targets, primary.borrowed, primary.own)


def false_calls(intervals: list[Interval]) -> int:
    """Those that leave out a difference of none."""
    return sum(not interval.low <= 0 <= interval.high for interval in intervals)


def main(file: Path) -> None:
    found = list(compare_with_itself(read_predictions(file)))
    print("| arm | targets | experiments | called different, borrowed spread | own spread |")
    print("| --- | --- | --- | --- | --- |")
    for arm, targets in dict.fromkeys((each.arm, each.targets) for each in found):
        of_both = [each for each in found if (each.arm, each.targets) == (arm, targets)]
        borrowed, own = (false_calls([getattr(each, kind) for each in of_both]) for kind in ("borrowed", "own"))
        print(f"| {arm} | {', '.join(targets)} | {len(of_both)} | {borrowed} | {own} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
