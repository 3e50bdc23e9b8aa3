"""Planning is limited in number: a few wait without a thread, the others are told to come again."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest
from support.memory_services import AS_OPERATOR, api_client, register_everything
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_api.busy import MOST_WAITING, Busy, Slots
from touchstone_api.main import create_app

BODY = spec().model_dump(mode="json")


def test_so_many_work_at_once_a_few_wait_and_the_others_are_sent_away() -> None:
    async def come() -> tuple[int, int, int]:
        slots, done = Slots(at_once=2, waiting=3), asyncio.Event()
        at_work = most = sent_away = 0

        async def work() -> None:
            nonlocal at_work, most, sent_away
            try:
                async with slots.one():
                    at_work += 1
                    most = max(most, at_work)
                    await done.wait()
                    at_work -= 1
            except Busy:
                sent_away += 1

        working = [asyncio.create_task(work()) for _ in range(10)]
        while sent_away < 5:
            await asyncio.sleep(0)
        waiting = slots.waiting
        done.set()
        await asyncio.gather(*working)
        async with slots.one():  # all are free again
            pass
        return most, waiting, sent_away

    assert asyncio.run(come()) == (2, 3, 5)


def test_nobody_waits_for_ever_and_a_slot_comes_back_whatever_happened() -> None:
    async def come() -> None:
        slots = Slots(at_once=1, patience=0.01)
        with pytest.raises(ZeroDivisionError):
            async with slots.one():
                raise ZeroDivisionError
        async with slots.one():
            with pytest.raises(Busy, match="try again"):
                async with slots.one():
                    pass
        assert slots.waiting == 0

    asyncio.run(come())


def test_while_plans_are_made_everything_else_is_answered_and_too_many_are_told_to_come_again(
    services: Services,
) -> None:
    app = create_app(services)
    register_everything(api_client(services))

    async def come() -> tuple[list[httpx.Response], list[httpx.Response]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=AS_OPERATOR, timeout=60
        ) as client:
            async with AsyncExitStack() as plans:
                for _ in range(services.settings.plans_at_once):
                    await plans.enter_async_context(app.state.planning.one())
                asked = [client.post("/v1/experiments/validate", json=BODY) for _ in range(MOST_WAITING + 4)]
                answers = [asyncio.create_task(each) for each in asked]
                while sum(answer.done() for answer in answers) < 4:
                    await asyncio.sleep(0.001)
                others = [await client.get(path) for path in ("/v1/targets/fine", "/v1/experiments", "/healthz")]
                assert sum(answer.done() for answer in answers) == 4
            return others, list(await asyncio.gather(*answers))

    others, answers = asyncio.run(come())
    assert [answer.status_code for answer in others] == [200] * 3
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(answers) == MOST_WAITING + 4
    assert len(refused) == 4
    assert {(answer.status_code, answer.json()["code"], answer.headers["retry-after"]) for answer in refused} == {
        (503, "busy", "5")
    }
