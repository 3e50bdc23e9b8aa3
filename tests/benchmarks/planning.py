"""Planning an experiment on 1,000 classes against the code of before requests named facts.

Two arms, six sizes, five seeds, five learning rates. Each side runs in a process of its own; measured is all that
posting makes: the steps with their ids, what is stored of them, and the experiment's identity."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from support.duels import Duel, Elsewhere
from support.earlier_code import BEFORE_STORED_PLANS, run_case, unpack

NAME = "planning"
FLOOR = 12
MOST_CPU_SECONDS, MOST_BYTES = 0.4, 2_000_000
SOURCES = ("libs/contracts/src", "services/api/src")

Plan = dict[str, Any]


def prepare() -> Duel[Elsewhere[Plan], Elsewhere[Plan]]:
    folder = tempfile.TemporaryDirectory(prefix="touchstone-planning-")
    unpack(BEFORE_STORED_PLANS, SOURCES, Path(folder.name))
    return Duel(
        ours=partial(run_case, "support.planning_case", "today"),
        # The folder lives as long as the duel that names it.
        peer=lambda: run_case("support.planning_case", "earlier", [Path(folder.name) / each for each in SOURCES]),
        quality=as_complete_and_small,
        repetitions=3,
    )


def as_complete_and_small(ours: Elsewhere[Plan], peer: Elsewhere[Plan]) -> bool:
    """The same steps and the judgement, within what a plan may take."""
    print(f"{NAME}: stored {ours.result['stored_bytes']:,} bytes, peer {peer.result['stored_bytes']:,}", flush=True)
    within = ours.cpu_s <= MOST_CPU_SECONDS and ours.result["stored_bytes"] <= MOST_BYTES
    return within and ours.result["kinds"] == {**peer.result["kinds"], "judge_experiment": 1}
