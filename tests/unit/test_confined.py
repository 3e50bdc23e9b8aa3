"""Processes for foreign bytes: what they may not take, how they end, and that another one replaces them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hostile_images import good_image
from touchstone_contracts.problems import Transient
from touchstone_runtime.confined import ConfinedBug, ConfinedPool, Died, Limits
from touchstone_runtime.inspection import Inspector

LIMITS = Limits(memory_bytes=64 * 2**20, cpu_seconds=1, open_files=16, silent_seconds=60)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfinedPool]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("TOUCHSTONE_S3_SECRET_KEY", "hunter2")
    pool = ConfinedPool("support.confined_functions:obey", LIMITS)
    yield pool
    pool.close()


def ask(pool: ConfinedPool, request: str) -> list[str]:
    with pool.process() as process:
        return [answer.decode() for answer in process.ask(request.encode())]


def test_a_process_answers_again_and_again(pool: ConfinedPool) -> None:
    pids = {ask(pool, f"pid echo={number}")[0] for number in range(20)}
    assert ask(pool, "echo=a echo=b echo=") == ["a", "b", ""]
    assert ask(pool, "") == []
    assert (len(pids), pool.started) == (1, 1)
    assert 0 < pool.peak_bytes < 100_000_000


@pytest.mark.parametrize(
    ("deed", "how"),
    [
        ("spin", "too_slow"),
        ("allocate=100000000", "too_much_memory"),
        ("signal=SIGSEGV", "crashed"),
        ("signal=SIGABRT", "crashed"),
        ("signal=SIGBUS", "crashed"),
    ],
)
def test_what_ends_a_process_is_told_and_another_replaces_it(pool: ConfinedPool, deed: str, how: str) -> None:
    with pytest.raises(Died) as death:
        ask(pool, f"echo=1 echo=2 {deed} echo=3")
    assert (death.value.how, death.value.answered, death.value.fresh) == (how, 2, True)
    assert ask(pool, "echo=next") == ["next"]
    assert pool.started == 2


def test_a_process_holds_neither_secrets_nor_files_and_writes_none(pool: ConfinedPool, tmp_path: Path) -> None:
    deeds = (
        f"environment=TOUCHSTONE_S3_SECRET_KEY environment=PATH open=100 open=3 write={tmp_path / 'x'} cores print=y"
    )
    secret, path, many, few, written, cores, printed = ask(pool, deeds)
    assert (secret, path, few, cores, printed) == ("absent", os.environ["PATH"], "3", "0", "printed")
    assert (many, written) == ("Too many open files", "File too large")
    assert not (tmp_path / "x").read_bytes()


def test_time_is_counted_for_each_answer(pool: ConfinedPool) -> None:
    """Twenty answers, which together take longer than one may."""
    assert len(ask(pool, "allocate=40000000 " * 20)) == 20


def test_a_bug_of_the_function_is_raised_as_one(pool: ConfinedPool) -> None:
    with pytest.raises(ConfinedBug, match="ValueError: oops"):
        ask(pool, "echo=1 fail=oops")
    assert ask(pool, "echo=2") == ["2"]


def test_a_process_that_was_ended_while_nobody_used_it_is_replaced(pool: ConfinedPool) -> None:
    with pool.process() as process:
        assert list(process.ask(b"echo=1")) == [b"1"]
        pid = process.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Died) as death:
        ask(pool, "echo=2")
    assert not death.value.fresh
    assert ask(pool, "echo=3") == ["3"]


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_a_fresh_process_that_is_ended_from_outside_is_nobodys_fault(pool: ConfinedPool, name: str) -> None:
    with pytest.raises(Transient, match="ended from outside"):
        ask(pool, f"signal={name}")


def test_a_process_that_cannot_start_is_a_bug_and_no_reason(pool: ConfinedPool) -> None:
    with pytest.raises(ConfinedBug, match="before it took a request"):
        ask(ConfinedPool("support.nothing_of_this_name:obey"), "echo=1")


def test_signals_to_the_group_of_the_worker_do_not_reach_its_processes(pool: ConfinedPool) -> None:
    (pid,) = ask(pool, "pid")
    assert os.getpgid(int(pid)) != os.getpgid(0)


def test_a_silent_process_is_not_waited_for_without_end(pool: ConfinedPool) -> None:
    impatient = ConfinedPool("support.confined_functions:obey", Limits(silent_seconds=0.2, cpu_seconds=60))
    with pytest.raises(Transient, match="silent for"):
        ask(impatient, "signal=SIGSTOP")


def test_processes_end_with_their_pool(pool: ConfinedPool) -> None:
    (pid,) = ask(pool, "pid")
    pool.close()
    assert not Path(f"/proc/{pid}").exists()


def test_an_image_is_not_blamed_for_the_end_of_a_process_that_others_used() -> None:
    pool = ConfinedPool("touchstone_runtime.inspection:inspect")
    inspector, image = Inspector(pool, 2), good_image(0)
    assert inspector.outcome(image) == (48, 48)
    with pool.process() as process:
        pid = process.pid
    os.kill(pid, signal.SIGKILL)
    assert list(inspector.outcomes([image, b"no image", image])) == [(48, 48), "undecodable_image", (48, 48)]
    pool.close()
