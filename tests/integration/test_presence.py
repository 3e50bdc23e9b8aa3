"""Who is counted as a live worker: one suite for Valkey and for the fake, and the thread that announces."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import redis
from touchstone_contracts.problems import Transient
from touchstone_runtime.presence import Announcer, MemoryPresence, Presence, connect_presence

QUEUES = ("retrieval", "generator", "trainer")
NOBODY = dict.fromkeys(QUEUES, 0)
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


def test_workers_are_counted_by_queue_and_each_once(server: Server) -> None:
    assert server.presence.count(QUEUES) == NOBODY
    for worker in ("a", "b", "a"):
        server.presence.announce("trainer", worker, 30)
    server.presence.announce("generator", "a", 30)
    assert server.presence.count(QUEUES) == {"retrieval": 0, "generator": 1, "trainer": 2}
    assert server.presence.count(()) == {}


def test_a_silent_worker_counts_no_more_and_one_that_goes_on_does(server: Server) -> None:
    server.presence.announce("trainer", "silent", 0.3)
    server.presence.announce("trainer", "steady", 0.3)
    server.presence.announce("trainer", "steady", 30)
    assert server.presence.count(QUEUES)["trainer"] == 2
    server.pass_time(0.4)
    assert server.presence.count(QUEUES)["trainer"] == 1
    server.presence.announce("trainer", "silent", 30)
    assert server.presence.count(QUEUES)["trainer"] == 2


def test_a_worker_that_withdraws_is_gone_at_once(server: Server) -> None:
    server.presence.announce("trainer", "a", 30)
    server.presence.announce("generator", "a", 30)
    server.presence.withdraw("trainer", "a")
    server.presence.withdraw("trainer", "never seen")
    assert server.presence.count(QUEUES) == NOBODY | {"generator": 1}


def test_a_flushed_server_knows_a_worker_again_at_its_next_heartbeat(server: Server) -> None:
    server.presence.announce("trainer", "a", 30)
    server.flush()
    assert server.presence.count(QUEUES) == NOBODY
    server.presence.announce("trainer", "a", 30)
    assert server.presence.count(QUEUES)["trainer"] == 1


@pytest.mark.parametrize("server_that_is_away", ["memory", "valkey"])
def test_without_a_server_every_question_is_a_transient_failure(server_that_is_away: str) -> None:
    presence: Presence = MemoryPresence(lambda: 0.0, away=True)
    if server_that_is_away == "valkey":
        presence = connect_presence("redis://127.0.0.1:1/0")
    calls: tuple[Callable[[], object], ...] = (
        lambda: presence.announce("trainer", "a", 30),
        lambda: presence.withdraw("trainer", "a"),
        lambda: presence.count(QUEUES),
    )
    for call in calls:
        with pytest.raises(Transient):
            call()


class Counted(MemoryPresence):
    """Tells when a worker announced itself."""

    def __init__(self) -> None:
        super().__init__(lambda: 0.0)
        self.beaten = threading.Semaphore(0)

    def announce(self, queue: str, worker: str, seconds: float) -> None:
        self.beaten.release()
        super().announce(queue, worker, seconds)


def wait_for_beats(presence: Counted, number: int) -> None:
    for _ in range(number):
        assert presence.beaten.acquire(timeout=DEADLINE_SECONDS)


def test_two_processes_of_one_name_are_two_workers_while_their_main_threads_are_busy() -> None:
    presence = Counted()
    with Announcer(presence, "trainer", "same name", 0.01), Announcer(presence, "trainer", "same name", 0.01):
        wait_for_beats(presence, 10)
        assert presence.count(QUEUES)["trainer"] == 2
    assert presence.count(QUEUES) == NOBODY


def test_a_worker_outlives_an_outage_of_the_server() -> None:
    presence = Counted()
    presence.away = True
    with Announcer(presence, "trainer", "w", 0.01):
        wait_for_beats(presence, 3)
        presence.away = False
        wait_for_beats(presence, 3)
        assert presence.count(QUEUES)["trainer"] == 1
        presence.away = True
    presence.away = False
    assert presence.count(QUEUES)["trainer"] == 1, "it could not withdraw, so it counts until its time is over"
