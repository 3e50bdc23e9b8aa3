"""Redis forgets, fills up, takes nothing or says nothing, and messages are lost, doubled, mixed up and late: truth does
not lie there, so the results stay the same and no step is blamed."""

import random
import shutil
import time

import pytest
import redis
from support.amounts import Amounts, Tally, only_whole
from support.trials import STUDY, Trials
from support.waiting import until
from touchstone_contracts.steps import ADAPT_ENCODER, every_contract

CHANNELS = tuple(sorted({contract.channel for contract in every_contract()}))


@pytest.fixture
def broker(faulted: Trials) -> redis.Redis:
    return faulted.redis()


def test_a_flushed_redis_loses_nothing(faulted: Trials, broker: redis.Redis) -> None:
    experiment = faulted.again("redis flushed")
    for kind in ("embed_images", "generate_images", "adapt_encoder"):
        faulted.at_work(experiment, kind)
        broker.flushall()
    faulted.require_undisturbed(experiment)
    assert faulted.oracle.failures() == 0


@pytest.mark.parametrize(
    "keeps", [pytest.param(True, marks=only_whole, id="with its file"), pytest.param(False, id="without its file")]
)
def test_a_redis_that_starts_anew(faulted: Trials, broker: redis.Redis, keeps: bool) -> None:
    experiment = faulted.again("redis restarted")
    faulted.at_work(experiment, "generate_images")
    run = broker.info("server")["run_id"]
    faulted.supervisor.stop("valkey")
    if not keeps:
        shutil.rmtree(faulted.stack.folder.path / "valkey" / "appendonlydir")
    faulted.supervisor.start("valkey")
    faulted.require_undisturbed(experiment)
    assert broker.info("server")["run_id"] != run
    assert faulted.oracle.failures() == 0


@only_whole
def test_a_redis_without_memory_is_waited_for(faulted: Trials, broker: redis.Redis, amounts: Amounts) -> None:
    experiment = faulted.again("redis full")
    faulted.at_work(experiment, "generate_images")
    broker.config_set("maxmemory", "1")
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            broker.set("touchstone:test", 1)
        time.sleep(amounts.minute)  # the fault itself
        assert faulted.client.experiment(experiment).phase == "running"
    finally:
        broker.config_set("maxmemory", "0")
    faulted.require_undisturbed(experiment)
    assert faulted.oracle.failures() == 0


@only_whole
def test_a_redis_that_takes_no_writes_is_waited_for(faulted: Trials, broker: redis.Redis, amounts: Amounts) -> None:
    experiment = faulted.again("redis read-only")
    faulted.at_work(experiment, "generate_images")
    broker.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(redis.exceptions.ReadOnlyError):
            broker.set("touchstone:test", 1)
        time.sleep(amounts.minute)  # the fault itself
        assert faulted.client.experiment(experiment).phase == "running"
    finally:
        broker.execute_command("REPLICAOF", "NO", "ONE")
    faulted.require_undisturbed(experiment)
    assert faulted.oracle.failures() == 0


def test_a_redis_that_says_nothing_is_waited_for(faulted: Trials, amounts: Amounts) -> None:
    experiment = faulted.again("redis half-open")
    faulted.at_work(experiment, "generate_images")
    faulted.redis_proxy.swallow()
    try:
        faulted.redis_proxy.wait_until(lambda proxy: proxy.swallowed > 0)
        time.sleep(amounts.minute)  # the fault itself
    finally:
        faulted.redis_proxy.pass_on()
    faulted.require_undisturbed(experiment)


def test_messages_that_are_lost_doubled_and_mixed_up(
    faulted: Trials, broker: redis.Redis, seed: int, counted: Tally
) -> None:
    dice, done = random.Random(seed), dict.fromkeys(("lost", "doubled", "mixed"), 0)
    experiment = faulted.again("messages meddled with")
    while not faulted.ended(experiment) or not all(done.values()):
        if faulted.ended(experiment):
            faulted.require_undisturbed(experiment)
            experiment = faulted.again("messages meddled with")
        for _ in range(20):
            meddle(broker, dice, done)
            time.sleep(0.02)  # between two looks at a queue that others use
    faulted.require_undisturbed(experiment)
    counted(f"seed {seed}: messages {done}")


def meddle(broker: redis.Redis, dice: random.Random, done: dict[str, int]) -> None:
    """A queue may change between two commands: then a message is lost or doubled once more."""
    waiting = [channel for channel in CHANNELS if broker.llen(channel)]
    if not waiting or dice.random() < 0.5:
        return
    channel = dice.choice(waiting)
    what = min(done, key=lambda name: (done[name], dice.random()))
    if what == "lost":
        done[what] += broker.lpop(channel) is not None
        return
    if what == "doubled":
        for message in broker.lrange(channel, 0, 0):
            done[what] += broker.lpush(channel, message) > 1
        return
    messages = broker.lrange(channel, 0, -1)
    if not messages:  # somebody was faster
        return
    dice.shuffle(messages)
    with broker.pipeline() as pipeline:
        pipeline.delete(channel)
        pipeline.rpush(channel, *messages)
        pipeline.execute()
    done[what] += 1


def test_messages_that_arrive_after_everything_was_cancelled_start_nothing(
    faulted: Trials, broker: redis.Redis
) -> None:
    # Runs that no other experiment wants.
    recipe = STUDY["recipe"] | {"learning_rates": [0.0005]}
    with faulted.stopped("trainer", "trainer-2"):
        experiment = faulted.posted({"name": "cancelled", "recipe": recipe})
        late = until(lambda: broker.lrange(ADAPT_ENCODER.channel, 0, -1), within=120)
        faulted.client.cancel(experiment)
        until(lambda: leased(faulted, experiment) == 0, within=60)
        # What workers of earlier faults died with stays there for hours.
        before = set(broker.hkeys("unacked"))
        broker.rpush(ADAPT_ENCODER.channel, *late)
    until(lambda: not broker.llen(ADAPT_ENCODER.channel) and before.issuperset(broker.hkeys("unacked")), within=120)
    steps = [step for step in faulted.client.experiment(experiment).step_list if step.kind == "adapt_encoder"]
    assert len(steps) == 2
    assert all(step.state == "waiting" and not step.done for step in steps)
    faulted.client.retry(experiment)
    assert faulted.finished(experiment, within=300).phase == "succeeded"


def leased(trials: Trials, experiment: str) -> int:
    return trials.client.experiment(experiment).steps.leased
