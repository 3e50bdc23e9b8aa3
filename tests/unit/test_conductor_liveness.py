"""/healthz of the conductor: a process that runs but no longer goes round is restarted."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.memory_services import MemoryReports, memory_services
from touchstone_conductor.__main__ import run, wait_for_schema
from touchstone_conductor.conductor import Conductor
from touchstone_conductor.liveness import LastCycle
from touchstone_conductor.settings import ConductorSettings
from touchstone_contracts.messages import StepReport
from touchstone_contracts.problems import Transient
from touchstone_runtime.presence import MemoryPresence
from touchstone_runtime.queue import MemoryDispatcher
from touchstone_store.database import open_store


class OnlyRound(MemoryReports):
    """Stops the loop in its first cycle, fifty seconds later."""

    def __init__(self, stop: threading.Event, clock: list[float], *, away: bool) -> None:
        super().__init__()
        self.stop, self.clock, self.away = stop, clock, away

    def receive(self, timeout: float) -> list[StepReport]:
        self.stop.set()
        self.clock[0] += 50
        if self.away:
            raise Transient("redis does not answer", code="redis")
        return []


@pytest.mark.parametrize("away", [False, True])
def test_a_cycle_counts_whichever_servers_answered_it(tmp_path: Path, away: bool) -> None:
    services, stop, clock = memory_services(tmp_path), threading.Event(), [0.0]
    last_cycle = LastCycle(30, lambda: clock[0])
    assert last_cycle.is_recent(), "a conductor that has just started is given time"
    conductor = Conductor(
        store=services.store,
        artifacts=services.artifacts,
        reports=OnlyRound(stop, clock, away=away),
        dispatcher=MemoryDispatcher(),
        presence=MemoryPresence(datetime.now(UTC).timestamp),
    )
    clock[0] = 31
    assert not last_cycle.is_recent()
    run(conductor, stop, last_cycle, 0.01)
    assert last_cycle.is_recent()
    clock[0] += 30
    assert last_cycle.is_recent()
    clock[0] += 1
    assert not last_cycle.is_recent()


def test_waiting_for_the_schema_is_a_sign_of_life(tmp_path: Path) -> None:
    store, clock, stop = open_store(f"sqlite:///{tmp_path / 'empty.db'}"), [0.0], threading.Event()
    last_cycle = LastCycle(30, lambda: clock[0])

    class Wait(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert last_cycle.is_recent(), "noted before the pause"
            self.set()
            return True

    clock[0], stop = 31, Wait()
    wait_for_schema(store, stop, last_cycle, 0.01)
    assert stop.is_set()
    assert last_cycle.is_recent()


def test_the_patience_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTONE_CYCLE_SECONDS", "7")
    assert ConductorSettings().cycle_seconds == 7
