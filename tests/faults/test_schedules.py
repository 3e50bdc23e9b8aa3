"""Random schedules through the conductor itself: whatever happens, nothing is handed out twice and every plan ends."""

import logging
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import structlog
from support.amounts import Amounts, Tally
from support.oracle import Seen
from support.schedules import Schedules

AT_ONCE = 150


def run_batch(seed: str) -> tuple[Seen, int]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with TemporaryDirectory() as folder:
        schedules = Schedules(Path(folder), Random(seed), AT_ONCE)
        try:
            schedules.run()
        except AssertionError as error:
            raise AssertionError(f"schedules of seed {seed!r}: {error}") from error
        return schedules.oracle.require_sound(), schedules.mishaps


def test_random_schedules_end_and_hand_out_nothing_twice(seed: int, amounts: Amounts, counted: Tally) -> None:
    batches = -(-amounts.schedules // AT_ONCE)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        found = list(processes.map(run_batch, [f"{seed}/{number}" for number in range(batches)]))
    plans, leases = sum(seen.plans for seen, _ in found), sum(seen.leases for seen, _ in found)
    mishaps = sum(count for _, count in found)
    assert plans >= amounts.schedules
    assert leases > 2 * plans
    assert mishaps > plans / 2
    counted(f"seed {seed}: {plans} schedules, {leases} leases, {mishaps} mishaps of workers and stores")
