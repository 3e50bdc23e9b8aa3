"""The dashboard's pages as HTML: true, escaped, and without inline scripts."""

import re

from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, finish_only, made_up_results, post_experiment
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.facts import progress_by_kind
from touchstone_contracts.views import StepView

NASTY = "<script>alert(1)</script> & co"


def test_an_empty_house_says_how_to_begin(api: TestClient) -> None:
    assert "touchstone run" in api.get("/").text


def test_the_page_shows_the_numbers_of_the_api(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told, exhausted=frozenset({("synthetic", 12)}))
    html = api.get(f"/experiments/{told.id}").text
    verdict = api.get(f"/v1/experiments/{told.id}/verdict").json()
    summary = api.get(f"/v1/experiments/{told.id}/results").json()["summary"]
    assert verdict["headline"] in html
    assert len(verdict["classes"]) == 6
    assert html.count("<td>thing 2</td>") == 2  # one row per target
    shown = [f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}" for row in summary if row["size"]]
    assert len(shown) == 2 * 2 * 3  # targets x metrics x (arm, size) pairs that were reached
    assert all(text in html for text in shown)
    assert "only 7 images" in html


def test_names_are_escaped_and_scripts_come_from_files_only(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(name=NASTY))
    finish_experiment(services, told)
    for place in ("/", f"/experiments/{told.id}"):
        answer = api.get(place)
        assert NASTY not in answer.text
        assert "&lt;script&gt;" in answer.text
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
        assert scripts
        assert all("src=" in attributes and not body for attributes, body in scripts)
        assert not re.search(r"\son\w+=|style=", answer.text)


def test_a_running_experiment_shows_its_progress_and_no_verdict(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    results = made_up_results(services.artifacts, told)
    tests = set(told.plan.tests.values())
    finish_only(services, told, {step: result for step, result in results.items() if step in tests})
    html = api.get(f"/experiments/{told.id}").text
    assert "still to come" in html
    assert f"{len(tests)} of {len(told.plan.steps)} steps done" in html


def test_an_unknown_experiment_is_a_page_not_found(api: TestClient) -> None:
    answer = api.get("/experiments/exp_nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_every_asset_a_page_names_is_served(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    named = {
        asset
        for place in ("/", f"/experiments/{told.id}")
        for asset in re.findall(r'(?:src|href)="(/assets/[^"]+)"', api.get(place).text)
    }
    assert "/assets/plotly.min.js" in named
    assert len(named) == 5
    assert {api.get(asset).status_code for asset in named} == {200}
    assert api.get("/assets/../main.py").status_code == 404
    assert api.get("/assets/rendering.py").status_code == 404


def test_progress_moves_within_a_step_and_names_what_runs_now() -> None:
    step = {"id": "0" * 64, "kind": "adapt_encoder", "role": "flags/made/adapt"}
    kinds = progress_by_kind(
        [
            StepView(**step, state="succeeded", reused=True),
            StepView(**step, state="leased", done=3, total=4),
            StepView(**step, state="waiting"),
        ]
    )
    assert [(kind.total, kind.succeeded, kind.reused, kind.done) for kind in kinds] == [(3, 1, 1, 1.75)]
    assert kinds[0].current == ["flags/made/adapt (3 of 4)"]
