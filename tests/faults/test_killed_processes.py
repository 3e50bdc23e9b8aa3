"""Processes die and servers forget in the middle of an experiment: it ends with the same results all the same."""

import pytest
import redis
from support.killing import forget_results, kill_in_the_middle
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
    return forget_results(stack, undisturbed[0])


def started_again(client: Client, undisturbed: tuple[ExperimentDetail, Results], name: str) -> str:
    """A clone that differs in its name alone and finds no step done."""
    clone = client.clone(undisturbed[0].id, {"name": name})
    assert clone.steps.reused == 0
    return clone.id


def test_every_process_killed_in_the_middle_of_its_work_changes_no_result(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results], nothing_computed: int
) -> None:
    assert nothing_computed == 19
    supervisor = stack.supervisor()
    experiment = started_again(client, undisturbed, "killed")
    killings = kill_in_the_middle(supervisor, client, experiment)
    assert killings.kinds() == {"retrieval", "generator", "trainer", "conductor"}
    ended = client.wait(experiment, timeout=300)
    assert client.results(experiment).digest == undisturbed[1].digest
    assert all(supervisor.pid_of(process) not in (0, pid) for process, pid in killings.killed.items())
    assert killings.repeated(ended) >= {"generate_images", "adapt_encoder"}, "work of seconds was done again"


def test_a_flushed_redis_loses_nothing(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results], nothing_computed: int
) -> None:
    assert nothing_computed == 19
    state = stack.folder.read_state()
    assert state is not None
    experiment = started_again(client, undisturbed, "redis flushed")
    next(event for event in client.events(experiment) if event.data.get("kind") == "generate_images")
    redis.Redis.from_url(state.redis_url).flushall()
    client.wait(experiment, timeout=300)
    assert client.results(experiment).digest == undisturbed[1].digest
