"""Where the time of a step is counted: loading, storing, and computing as what is left."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from touchstone_contracts.identity import sha256
from touchstone_contracts.values import Blob
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.phases import PHASES, Phase, measured, phase


class HandClock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("touchstone_runtime.phases.time.perf_counter", lambda: self.now)

    def work(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)


class SlowObjects(MemoryObjects):
    """Half a second to read, two to write."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__()
        self._clock = clock

    def get(self, key: str) -> bytes:
        self._clock.work(0.5)
        return super().get(key)

    def put(self, key: str, data: bytes) -> None:
        self._clock.work(2.0)
        super().put(key, data)


def test_reading_is_loading_writing_is_storing_and_the_rest_is_computing(clock: HandClock) -> None:
    artifacts = Artifacts(SlowObjects(clock))
    with measured() as step:
        stored = artifacts.put_array(np.zeros(3))
        clock.work(4.0)
        artifacts.get_array(stored)
        artifacts.get_image(sha256(b"\x93"), stored.digest, 0, 1)  # the first byte of every .npy file
        with phase("load"):
            clock.work(8.0)  # a model
    assert step.by_phase() == {"load": 9.0, "compute": 4.0, "store": 2.0}
    assert tuple(step.by_phase()) == PHASES
    assert sum(step.by_phase().values()) == step.elapsed()


@pytest.mark.parametrize(("outer", "inner"), [("load", "store"), ("load", "load"), ("store", "load")])
def test_a_phase_inside_another_is_counted_once_and_for_the_outer_one(
    clock: HandClock, outer: Phase, inner: Phase
) -> None:
    with measured() as step, phase(outer):
        clock.work(1.0)
        with phase(inner):
            clock.work(2.0)
    other = "store" if outer == "load" else "load"
    assert step.by_phase() == {outer: 3.0, other: 0.0, "compute": 0.0}


def test_a_phase_that_fails_is_counted_and_ends(clock: HandClock) -> None:
    artifacts = Artifacts(SlowObjects(clock))
    with measured() as step:
        with pytest.raises(Exception, match="no object"):
            artifacts.get_blob(Blob(digest="0" * 64, size=1))
        clock.work(1.0)
    assert step.by_phase() == {"load": 0.5, "compute": 1.0, "store": 0.0}


def test_what_a_step_loads_in_threads_of_its_own_overlaps_and_is_not_added(clock: HandClock) -> None:
    def load() -> int:
        with phase("load"):
            clock.work(1.0)
        return threading.get_ident()

    with measured() as step, ThreadPoolExecutor(1) as pool:
        assert pool.submit(load).result() != threading.get_ident()
    assert step.by_phase() == {"load": 0.0, "compute": 1.0, "store": 0.0}


def test_outside_a_step_nothing_is_measured_and_two_steps_share_nothing(clock: HandClock) -> None:
    with phase("load"):
        clock.work(1.0)
    with measured() as first, phase("load"):
        clock.work(1.0)
    with measured() as second, phase("load"):
        clock.work(2.0)
    assert (first.loading, second.loading) == (1.0, 2.0)
