"""The object store is away, answers with errors, slowly, or with half of what was asked, or its disk is full: work
waits, goes on, and ends with the same results."""

import time
from collections.abc import Callable

import pytest
from support.amounts import Amounts, Tally, only_whole
from support.half_open import Proxy
from support.trials import Trials
from support.waiting import until

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
FAULTS: dict[str, Callable[[Proxy], None]] = {
    "answers with errors": lambda proxy: proxy.answer(UNAVAILABLE),
    "is slow": lambda proxy: proxy.delay(0.2),
    "ends in the middle of an answer": lambda proxy: proxy.truncate(after=700),
    "says nothing": lambda proxy: proxy.swallow(),
    "resets every connection": lambda proxy: proxy.cut(),
}
OFTEN = ("answers with errors", "ends in the middle of an answer")


@pytest.mark.parametrize(
    "fault", [*OFTEN, *(pytest.param(name, marks=only_whole) for name in FAULTS if name not in OFTEN)]
)
def test_an_object_store_that(faulted: Trials, amounts: Amounts, fault: str) -> None:
    experiment = faulted.again(fault)
    faulted.at_work(experiment, "generate_images")
    FAULTS[fault](faulted.s3_proxy)
    try:
        time.sleep(amounts.minute)  # the fault itself
    finally:
        faulted.s3_proxy.pass_on()
    faulted.require_undisturbed(experiment)
    assert faulted.oracle.failures() == 0


@only_whole
def test_an_object_store_that_is_killed_comes_back_with_everything(faulted: Trials) -> None:
    experiment = faulted.again("object store killed")
    faulted.at_work(experiment, "adapt_encoder")
    assert faulted.kill("s3")
    faulted.require_undisturbed(experiment)
    assert faulted.oracle.failures() == 0


@only_whole
def test_an_object_store_that_is_away_for_long_is_waited_for(faulted: Trials, amounts: Amounts, counted: Tally) -> None:
    experiment = faulted.again("object store away")
    faulted.at_work(experiment, "embed_images")
    faulted.supervisor.stop("s3")
    away = time.monotonic()
    try:
        waiting = until(lambda: faulted.client.experiment(experiment).outages, within=60)
        assert {outage.code for outage in waiting} == {"object_store"}
        time.sleep(max(0.0, amounts.outage_seconds - (time.monotonic() - away)))  # the fault itself
    finally:
        faulted.supervisor.start("s3")
    ended = faulted.require_undisturbed(experiment)
    assert ended.outages == ()
    assert faulted.oracle.failures() == 0
    counted(f"away for {time.monotonic() - away:.0f} s")


def test_an_object_store_whose_disk_is_full_goes_on_when_there_is_room(faulted: Trials, amounts: Amounts) -> None:
    experiment = faulted.again("disk full")
    faulted.at_work(experiment, "generate_images")
    with faulted.full_disk():
        time.sleep(amounts.minute)  # the fault itself
        assert faulted.client.experiment(experiment).phase == "running"
    faulted.require_undisturbed(experiment)
    assert faulted.oracle.failures() == 0
