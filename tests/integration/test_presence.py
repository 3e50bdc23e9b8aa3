"""Who counts as a live worker: one suite for Valkey and for the fake, and the thread that announces."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import redis
from support.live_workers import live_worker
from touchstone_contracts.messages import LiveWorker
from touchstone_contracts.problems import Transient
from touchstone_runtime.presence import WORKERS_KEY, Announcer, MemoryPresence, Presence, connect_presence

A, B = (live_worker("trainer", name) for name in "ab")
OLD = live_worker("trainer", "old", ("adapt_encoder.1",))
WRITER = live_worker("generator", "a")
DEADLINE_SECONDS = 20


@dataclass
class Server:
    presence: Presence
    pass_time: Callable[[float], object]
    flush: Callable[[], object]


@pytest.fixture(params=["memory", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "memory":
        moment = [0.0]
        memory = MemoryPresence(lambda: moment[0])
        yield Server(memory, lambda seconds: moment.append(moment.pop() + seconds), memory.forget)
        return
    url = request.getfixturevalue("fresh_valkey_url")
    with redis.Redis.from_url(url) as client:
        yield Server(connect_presence(url), threading.Event().wait, client.flushall)


def test_each_worker_is_heard_once_with_its_queue_and_the_channels_it_serves(server: Server) -> None:
    assert server.presence.live() == ()
    for worker in (A, B, A, OLD, WRITER):
        server.presence.announce(worker, 30)
    live = server.presence.live()
    assert len(live) == 4
    assert set(live) == {A, B, OLD, WRITER}


def test_a_silent_worker_counts_no_more_and_one_that_goes_on_does(server: Server) -> None:
    server.presence.announce(A, 0.3)
    server.presence.announce(B, 0.3)
    server.presence.announce(B, 30)
    assert set(server.presence.live()) == {A, B}
    server.pass_time(0.4)
    assert server.presence.live() == (B,)
    server.presence.announce(A, 30)
    assert set(server.presence.live()) == {A, B}


def test_a_worker_that_withdraws_is_gone_at_once(server: Server) -> None:
    for worker in (A, WRITER):
        server.presence.announce(worker, 30)
    server.presence.withdraw(A)
    server.presence.withdraw(OLD)
    assert server.presence.live() == (WRITER,)


def test_a_flushed_server_knows_a_worker_again_at_its_next_heartbeat(server: Server) -> None:
    server.presence.announce(A, 30)
    server.flush()
    assert server.presence.live() == ()
    server.presence.announce(A, 30)
    assert server.presence.live() == (A,)


def test_what_another_release_announces_is_read_as_far_as_it_is_understood(fresh_valkey_url: str) -> None:
    presence = connect_presence(fresh_valkey_url)
    presence.announce(A, 30)
    with redis.Redis.from_url(fresh_valkey_url) as client:
        later = '{"name": "later", "queue": "trainer", "channels": ["adapt_encoder.9"], "region": "eu"}'
        client.zadd(WORKERS_KEY, {later: 1e12, "not json": 1e12, '{"name": "no queue"}': 1e12})
    assert set(presence.live()) == {A, live_worker("trainer", "later", ("adapt_encoder.9",))}


@pytest.mark.parametrize("server_that_is_away", ["memory", "valkey"])
def test_without_a_server_every_question_is_a_transient_failure(server_that_is_away: str) -> None:
    presence: Presence = MemoryPresence(lambda: 0.0, away=True)
    if server_that_is_away == "valkey":
        presence = connect_presence("redis://127.0.0.1:1/0")
    calls: tuple[Callable[[], object], ...] = (
        lambda: presence.announce(A, 30),
        lambda: presence.withdraw(A),
        presence.live,
    )
    for call in calls:
        with pytest.raises(Transient):
            call()


class Counted(MemoryPresence):
    """Tells when a worker announced itself."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.beaten = threading.Semaphore(0)

    def announce(self, worker: LiveWorker, seconds: float) -> None:
        self.beaten.release()
        super().announce(worker, seconds)


def wait_for_beats(presence: Counted, number: int) -> None:
    for _ in range(number):
        assert presence.beaten.acquire(timeout=DEADLINE_SECONDS)


def test_two_processes_of_one_name_are_two_workers_while_their_main_threads_are_busy() -> None:
    presence = Counted()
    with Announcer(presence, A, 0.01), Announcer(presence, A, 0.01):
        wait_for_beats(presence, 10)
        live = presence.live()
        assert len(live) == 2
        assert {worker.channels for worker in live} == {A.channels}
    assert presence.live() == ()


def test_a_worker_outlives_an_outage_of_the_server() -> None:
    presence = Counted()
    presence.away = True
    with Announcer(presence, A, 0.01):
        wait_for_beats(presence, 3)
        presence.away = False
        wait_for_beats(presence, 3)
        assert len(presence.live()) == 1
        presence.away = True
    presence.away = False
    assert len(presence.live()) == 1, "it could not withdraw, so it counts until its time is over"
