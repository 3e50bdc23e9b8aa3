"""What was looked for in captions is told by the API and at the terminal."""

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from support.finished_experiments import Told, finish_experiment, post_experiment, write_result
from touchstone.query_tables import print_queries
from touchstone_api.bootstrap import Services
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.steps import ImagesRetrieved
from touchstone_contracts.values import Blob
from touchstone_contracts.views import SearchedQueries
from touchstone_retrieval.strategies.findings import Asked, asked_table

BLOB = Blob(digest="0" * 64, size=1)
IMAGES = ImageSet(manifest=BLOB, shards=(BLOB,), count=1)
ASKED = [Asked(0, "Dog’s [red]", '"dog red"', 12), Asked(1, "小猫", '"小 猫"', 0)]


@pytest.fixture
def told(services: Services) -> Told:
    told = post_experiment(services)
    finish_experiment(services, told)
    searching = [step for step in told.plan.steps if step.kind == "retrieve_images"]
    assert len(searching) >= 1
    table = services.artifacts.put_table(asked_table(ASKED))
    for step in searching:
        found = ImagesRetrieved(images=IMAGES, requested=2, searched=table)
        write_result(services.artifacts, step.id, step.kind, found)
    return told


def test_every_query_is_told_as_stated_and_as_searched(api: TestClient, told: Told) -> None:
    answer = api.get(f"/v1/experiments/{told.id}/queries").json()
    searching = [step.role.split("/") for step in told.plan.steps if step.kind == "retrieve_images"]
    assert answer["total"] == len(answer["queries"]) == 2 * len(searching)
    assert {(entry["target"], entry["arm"]) for entry in answer["queries"]} == {
        (role[0], role[1]) for role in searching
    }
    assert {(entry["query"], entry["searched"], entry["captions"]) for entry in answer["queries"]} == {
        each[1:] for each in ASKED
    }
    assert api.get("/v1/experiments/exp_nothing/queries").status_code == 404


def test_the_terminal_shows_a_row_for_each_and_what_is_not_shown(api: TestClient, told: Told) -> None:
    found = SearchedQueries.model_validate_json(api.get(f"/v1/experiments/{told.id}/queries").content)
    console = Console(width=120, record=True)
    print_queries(console, found.model_copy(update={"total": found.total + 5}))
    text = console.export_text()
    assert "Dog’s [red]" in text
    assert '"小 猫"' in text
    assert "5 more queries" in text
    print_queries(console, SearchedQueries(experiment=told.id, total=0, queries=()))
    assert "no retrieval arm" in console.export_text()


def test_results_of_before_have_no_queries(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    for step in told.plan.steps:
        if step.kind == "retrieve_images":
            write_result(services.artifacts, step.id, step.kind, ImagesRetrieved(images=IMAGES, requested=2))
    assert api.get(f"/v1/experiments/{told.id}/queries").json() == {"experiment": told.id, "total": 0, "queries": []}
