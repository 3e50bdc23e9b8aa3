"""One project's hundreds of runs do not starve another's few: they take turns on the same worker."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.running_stack import environment_of, state_of
from support.tiny_world import tiny_study
from support.waiting import until
from touchstone import Client
from touchstone.documents import read_document
from touchstone_contracts.access import Limits, NewKey
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.views import ExperimentDetail
from touchstone_stack.lifecycle import Stack
from touchstone_store.database import open_store
from touchstone_store.keys import create_key
from touchstone_store.projects import create_project

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld

QUEUED_RUNS = 200


@pytest.fixture(scope="module")
def shared_stack(stack: Stack) -> Iterator[Stack]:
    """With one trainer."""
    stack.supervisor().stop("trainer-2")
    yield stack
    stack.supervisor().start("trainer-2")


@pytest.fixture(scope="module")
def large(shared_stack: Stack) -> Iterator[Client]:
    with state_of(shared_stack).client() as client:
        yield client


@pytest.fixture(scope="module")
def small(shared_stack: Stack, world: "TinyWorld") -> Iterator[Client]:
    """Another project, with the same things registered."""
    store, now = open_store(environment_of(shared_stack)["TOUCHSTONE_DATABASE_URL"]), datetime.now(UTC)
    with store.write() as session:
        project = create_project(session, "small", Limits(), now)
        key = create_key(session, project, NewKey(label="test", scope="write"), now).key
    store.close()
    with Client(state_of(shared_stack).api_url, key=key) as client:
        client.apply(Catalogue.model_validate(read_document(Path(world.catalogue))))
        yield client


def measured(client: Client, seeds: list[int]) -> tuple[ExperimentDetail, float]:
    """A study that nobody posted before, and the seconds until it has ended."""
    began = time.monotonic()
    posted, _ = client.post_document(tiny_study(name=f"seeds {seeds}", seeds=seeds))
    return client.wait(posted.id, timeout=600), time.monotonic() - began


def test_a_few_runs_of_one_project_end_while_hundreds_of_another_wait(large: Client, small: Client) -> None:
    measured(small, [900, 901])
    _, alone = measured(small, [902, 903])
    crowd, _ = large.post_document(tiny_study(name="crowd", sizes=[4], seeds=list(range(QUEUED_RUNS // 2))))
    until(lambda: large.experiment(crowd.id).steps.succeeded > 5, within=120)
    before = large.experiment(crowd.id).steps
    ended, beside = measured(small, [904, 905])
    after = large.experiment(crowd.id).steps
    large.cancel(crowd.id)
    print(f"alone {alone:.1f} s, beside {after.waiting} waiting steps {beside:.1f} s: {beside / alone:.2f}x")
    assert ended.phase == "succeeded"
    assert after.waiting > QUEUED_RUNS
    own = ended.steps.total - ended.steps.reused
    assert own > 10
    # Turns: for each step of the small one about one of the crowd, and what was under way when it came.
    assert after.succeeded - before.succeeded <= 2 * own
