"""Processes die and servers forget in the middle of an experiment: it ends with the same results all the same."""

import os
import signal

import pytest
import redis
from minio import Minio
from support.tiny_world import tiny_study
from touchstone import Client
from touchstone_contracts.keys import manifest_key
from touchstone_contracts.views import ExperimentDetail, Results
from touchstone_stack.lifecycle import Stack
from touchstone_stack.supervision import Supervisor

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
            "images": 24,
            "sampler": {"steps": 15, "batch_size": 2},
        },
    ],
    sizes=[16],
    seeds=[0],
    recipe={"kind": "cross_entropy", "learning_rates": [0.001], "epochs": 10, "batch_size": 2},
)


@pytest.fixture(scope="module")
def undisturbed(client: Client) -> tuple[ExperimentDetail, Results]:
    experiment, _ = client.post_document(STUDY)
    detail = client.wait(experiment.id, timeout=120)
    return detail, client.results(experiment.id)


@pytest.fixture
def nothing_computed(stack: Stack, undisturbed: tuple[ExperimentDetail, Results]) -> int:
    """Removes the result of every step of the study, so that its clone computes them all; how many there were."""
    state = stack.folder.read_state()
    assert state is not None
    store = state.object_store()
    client = Minio(
        store.s3_endpoint,
        access_key=store.s3_access_key,
        secret_key=store.s3_secret_key.get_secret_value(),
        secure=False,
    )
    for step in undisturbed[0].step_list:
        client.remove_object(store.s3_bucket, manifest_key(step.id))
    return len(undisturbed[0].step_list)


def started_again(client: Client, undisturbed: tuple[ExperimentDetail, Results], name: str) -> str:
    """A clone that differs in its name alone and finds no step done."""
    clone = client.clone(undisturbed[0].id, {"name": name})
    assert clone.steps.reused == 0
    return clone.id


def at_work(supervisor: Supervisor, processes: tuple[str, ...], worker: str) -> str:
    """Of processes that serve the same queue, the one that reported as `worker` (its name ends with its pid)."""
    doing = [process for process in processes if worker.endswith(f":{supervisor.pid_of(process)}")]
    return doing[0] if doing else processes[0]


def test_every_process_killed_in_the_middle_of_its_work_changes_no_result(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results], nothing_computed: int
) -> None:
    assert nothing_computed == 20
    supervisor = stack.supervisor()
    experiment = started_again(client, undisturbed, "killed")
    # At the first start of each kind of work, SIGKILL to a process it needs.
    victims = {
        "embed_images": ("retrieval",),
        "generate_images": ("generator",),
        "adapt_encoder": ("trainer", "trainer-2"),
        "evaluate_encoder": ("conductor",),
    }
    killed: dict[str, int] = {}
    interrupted: dict[str, int] = {}
    for event in client.events(experiment):
        kind = event.data.get("kind")
        # The untouched encoder is evaluated while the rest has hardly begun: too early for the conductor.
        if event.event == "step.started" and kind in victims and "/none/" not in event.data["role"]:
            process = at_work(supervisor, victims.pop(kind), event.data["worker"])
            killed[process] = supervisor.pid_of(process)
            os.kill(killed[process], signal.SIGKILL)
            interrupted[event.data["step"]] = event.data["attempt"]
        if not victims:
            break
    assert {process.removesuffix("-2") for process in killed} == {"retrieval", "generator", "trainer", "conductor"}
    ended = client.wait(experiment, timeout=300)
    assert client.results(experiment).digest == undisturbed[1].digest
    assert all(supervisor.pid_of(process) not in (0, pid) for process, pid in killed.items())
    repeated = {step.kind for step in ended.step_list if step.attempt > interrupted.get(step.id, step.attempt)}
    assert repeated >= {"generate_images", "adapt_encoder"}, "work of seconds was cut short and done again"


def test_a_flushed_redis_loses_nothing(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results], nothing_computed: int
) -> None:
    assert nothing_computed == 20
    state = stack.folder.read_state()
    assert state is not None
    experiment = started_again(client, undisturbed, "redis flushed")
    next(event for event in client.events(experiment) if event.data.get("kind") == "generate_images")
    redis.Redis.from_url(state.redis_url).flushall()
    client.wait(experiment, timeout=300)
    assert client.results(experiment).digest == undisturbed[1].digest
