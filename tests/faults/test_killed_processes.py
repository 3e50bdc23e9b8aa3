"""Processes die and servers forget in the middle of an experiment: it ends with the same results all the same."""

import os
import signal
from collections.abc import Iterator

import pytest
import redis
from minio import Minio
from support.tiny_world import tiny_study
from touchstone import Client
from touchstone_contracts.views import ExperimentDetail, Results
from touchstone_stack.lifecycle import Stack

# Steps long enough to be killed in their middle.
STUDY = tiny_study(
    name="undisturbed",
    arms=[
        {"kind": "none"},
        {"kind": "retrieval", "name": "retrieved", "strategy": {"kind": "semantic", "results_per_query": 8}},
        {
            "kind": "generation",
            "name": "synthetic",
            "generator": "tiny-diffusion",
            "images_per_class": 6,
            "sampler": {"steps": 60, "batch_size": 2},
        },
    ],
    sizes=[16],
    seeds=[0],
    recipe={"kind": "cross_entropy", "learning_rates": [0.001], "epochs": 40, "batch_size": 2},
)


@pytest.fixture(scope="module")
def undisturbed(client: Client) -> tuple[ExperimentDetail, Results]:
    experiment, _ = client.post_document(STUDY)
    detail = client.wait(experiment.id, timeout=120)
    return detail, client.results(experiment.id)


@pytest.fixture
def nothing_computed(stack: Stack, undisturbed: object) -> int:
    """Removes every step's result, so that the next experiment computes all of its steps; how many there were."""
    state = stack.folder.read_state()
    assert state is not None
    store = state.object_store()
    client = Minio(
        store.s3_endpoint,
        access_key=store.s3_access_key,
        secret_key=store.s3_secret_key.get_secret_value(),
        secure=False,
    )
    found = list(client.list_objects(store.s3_bucket, prefix="steps/", recursive=True))
    for each in found:
        assert each.object_name is not None
        client.remove_object(store.s3_bucket, each.object_name)
    return len(found)


def started_again(client: Client, undisturbed: tuple[ExperimentDetail, Results], name: str) -> ExperimentDetail:
    """A clone that differs in its name alone."""
    return client.experiment(client.clone(undisturbed[0].id, {"name": name}).id)


def starts(client: Client, experiment: str, kind: str) -> Iterator[str]:
    """Steps of `kind` as they start."""
    for event in client.events(experiment):
        if event.event == "step.started" and event.data["kind"] == kind:
            yield event.data["step"]


@pytest.mark.parametrize(
    ("process", "at_work_on"),
    [
        ("trainer", "adapt_encoder"),
        ("generator", "generate_images"),
        ("retrieval", "embed_images"),
        ("conductor", "generate_images"),
    ],
)
def test_sigkill_in_the_middle_of_a_step_changes_no_result(
    stack: Stack,
    client: Client,
    undisturbed: tuple[ExperimentDetail, Results],
    nothing_computed: int,
    process: str,
    at_work_on: str,
) -> None:
    assert nothing_computed > 10
    supervisor = stack.supervisor()
    experiment = started_again(client, undisturbed, f"{process} killed")
    assert experiment.steps.reused == 0
    step = next(starts(client, experiment.id, at_work_on))
    killed = supervisor.pid_of(process)
    os.kill(killed, signal.SIGKILL)
    ended = client.wait(experiment.id, timeout=150)
    assert supervisor.pid_of(process) not in (0, killed)
    assert client.results(experiment.id).digest == undisturbed[1].digest
    attempts = {each.id: each.attempt for each in ended.step_list}
    if process in ("trainer", "generator"):
        assert attempts[step] == 2, "it was killed at work on this step, and did it again"
    assert max(attempts.values()) <= 3


def test_a_flushed_redis_loses_nothing(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results], nothing_computed: int
) -> None:
    assert nothing_computed > 10
    state = stack.folder.read_state()
    assert state is not None
    experiment = started_again(client, undisturbed, "redis flushed")
    next(starts(client, experiment.id, "generate_images"))
    broker = redis.Redis.from_url(state.redis_url)
    broker.flushall()
    client.wait(experiment.id, timeout=150)
    assert client.results(experiment.id).digest == undisturbed[1].digest
