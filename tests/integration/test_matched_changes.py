"""Of several callers that change an experiment with one ETag at the same time, one does. On both databases."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import api_client, fail_step
from touchstone_api.bootstrap import Services
from touchstone_contracts.keys import manifest_key
from touchstone_store.experiments import require_experiment

AT_ONCE, ROUNDS = 6, 4


@pytest.fixture
def services(either_database: Services) -> Services:
    return either_database


def at_once(services: Services, method: str, path: str, etag: str | None) -> Counter[int]:
    """How many callers got which status."""
    start = Barrier(AT_ONCE)
    clients = [api_client(services) for _ in range(AT_ONCE)]

    def call(number: int) -> int:
        start.wait(timeout=30)
        headers = {} if etag is None else {"If-Match": etag}
        return clients[number].request(method, path, headers=headers).status_code

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return Counter(threads.map(call, range(AT_ONCE)))


def running(services: Services) -> str:
    return post_experiment(services).id


def cancelled(services: Services) -> str:
    experiment = post_experiment(services).id
    assert api_client(services).post(f"/v1/experiments/{experiment}/cancel").status_code == 200
    return experiment


def failed(services: Services) -> str:
    told = post_experiment(services)
    fail_step(services, next(iter(told.plan.steps)).id)
    return told.id


def lost(services: Services) -> str:
    """It has succeeded, and a result is gone from the object store."""
    told = post_experiment(services)
    finish_experiment(services, told)
    objects = services.artifacts._objects
    objects.remove(manifest_key(told.plan.steps[-1].id))  # type: ignore[attr-defined]
    return told.id


CHANGES: dict[str, tuple[Callable[[Services], str], str, str, int, str]] = {
    "cancel": (running, "POST", "/cancel", 200, "cancelled"),
    "retry what was cancelled": (cancelled, "POST", "/retry", 200, "queued"),
    "retry what failed": (failed, "POST", "/retry", 200, "queued"),
    "retry what was lost": (lost, "POST", "/retry", 200, "running"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_of_several_callers_with_the_same_etag_changes_it(services: Services, change: str) -> None:
    prepare, method, action, status, phase = CHANGES[change]
    experiment = prepare(services)
    path, client = f"/v1/experiments/{experiment}", api_client(services)
    for _ in range(ROUNDS if change == "cancel" else 1):
        seen = client.get(path).headers["etag"]
        assert at_once(services, method, path + action, seen) == {status: 1, 412: AT_ONCE - 1}
        assert client.get(path).json()["phase"] == phase
        client.post(f"{path}/retry")


@pytest.mark.parametrize("with_etag", [True, False])
def test_one_of_several_callers_deletes_it(services: Services, with_etag: bool) -> None:
    experiment = cancelled(services)
    path, client = f"/v1/experiments/{experiment}", api_client(services)
    answers = at_once(services, "DELETE", path, client.get(path).headers["etag"] if with_etag else None)
    assert (answers[204], answers[404] + answers[412]) == (1, AT_ONCE - 1), "the others find it gone or changed"
    assert client.get(path).status_code == 404


def test_a_deletion_and_a_retry_with_the_same_etag_are_not_both_done(services: Services) -> None:
    for _ in range(ROUNDS):
        experiment = cancelled(services)
        path, client = f"/v1/experiments/{experiment}", api_client(services)
        headers = {"If-Match": client.get(path).headers["etag"]}
        with ThreadPoolExecutor(2) as threads:
            deleted = threads.submit(client.delete, path, headers=headers)
            retried = threads.submit(client.post, f"{path}/retry", headers=headers)
            outcome = (deleted.result().status_code, retried.result().status_code)
        assert outcome in {(204, 404), (204, 412), (412, 200)}
        there = client.get(path).status_code
        assert there == (404 if outcome[0] == 204 else 200)
        if there == 200:
            client.post(f"{path}/cancel")
            assert client.delete(path).status_code == 204


def test_without_an_etag_all_callers_are_heard(services: Services) -> None:
    experiment = running(services)
    path = f"/v1/experiments/{experiment}"
    assert at_once(services, "POST", f"{path}/cancel", None) == {200: AT_ONCE}
    assert at_once(services, "POST", f"{path}/cancel", "*") == {200: AT_ONCE}
    with services.store.read() as session:
        assert require_experiment(session, experiment).phase == "cancelled"
