"""Label cards over HTTP, on the page, in the report and at the terminal; and what the verdict says of them."""

from dataclasses import dataclass

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from support.finished_experiments import (
    Told,
    finish_experiment,
    finish_only,
    made_up_results,
    post,
    post_experiment,
    register_all,
)
from support.memory_services import api_client
from support.specs import DictLookup, spec
from touchstone.label_tables import print_label_cards
from touchstone.report import Finding, markdown_report
from touchstone_api.bootstrap import Services
from touchstone_contracts.identity import sha256
from touchstone_contracts.steps import SourcesProbed
from touchstone_contracts.views import LabelCards, Results


@dataclass(frozen=True)
class Shown:
    api: TestClient
    told: Told

    @property
    def cards(self) -> LabelCards:
        return LabelCards.model_validate_json(self.api.get(f"/v1/experiments/{self.told.id}/labels").content)

    @property
    def page(self) -> str:
        """The section about labels, without line breaks."""
        html = self.api.get(f"/experiments/{self.told.id}").text
        return " ".join(html.split('id="labels"')[1].split("</section>")[0].split())

    @property
    def warnings(self) -> list[str]:
        found: list[str] = self.api.get(f"/v1/experiments/{self.told.id}/verdict").json()["warnings"]
        return found


def judged_experiment(services: Services) -> Told:
    lookup = DictLookup()
    judge = {"name": "judge", "digest": sha256(b"judge")}
    lookup.encoders["judge"] = lookup.encoders["clip"].model_copy(update=judge)
    register_all(services, lookup)
    return post(services, spec(seeds=(0, 1, 2), judge_encoder="judge"), lookup)


@pytest.fixture
def api(services: Services) -> TestClient:
    return api_client(services)


def terminal(cards: LabelCards) -> str:
    console = Console(width=160, record=True, quiet=False)
    with console.capture() as captured:
        print_label_cards(console, cards)
    return captured.get()


def test_the_judges_agreement_is_shown_everywhere(api: TestClient, services: Services) -> None:
    shown = Shown(api, judged_experiment(services))
    finish_experiment(services, shown.told, agreeing={"retrieved": 9})
    cards = shown.cards
    assert cards.judge == "judge"
    found = {(entry.target, entry.arm): entry.card.agreement for entry in cards.cards}
    assert {cell: agreement and agreement.agreeing for cell, agreement in found.items()} == {
        (target, arm): 9 if arm == "retrieved" else 18
        for target in ("fine", "broad")
        for arm in ("retrieved", "synthetic")
    }
    assert "<strong>42.9</strong>" in shown.page  # 9 of 21
    assert "<strong>85.7</strong>" in shown.page
    assert "judge" in terminal(cards)
    assert "42.9" in terminal(cards)
    results = Results.model_validate_json(api.get(f"/v1/experiments/{shown.told.id}/results").content)
    report = markdown_report(Finding("quick", results, None, cards))
    assert "| fine | retrieved | 21 | 42.9 | 90.0 | 4.8 | 0 | 0.500 |" in report
    manifest = api.get(f"/v1/experiments/{shown.told.id}/manifest").json()
    assert "judge" in {encoder["name"] for encoder in manifest["encoders"]}


def test_the_distance_to_the_test_images_is_shown_everywhere(api: TestClient, services: Services) -> None:
    shown = Shown(api, post_experiment(services))
    finish_experiment(services, shown.told)
    cards = shown.cards
    assert all(entry.card.distribution is not None for entry in cards.cards)
    assert shown.page.count("0.0312 ± 0.0021") == len(cards.cards) == 4
    assert "0.0312 ± 0.0021" in terminal(cards)
    results = Results.model_validate_json(api.get(f"/v1/experiments/{shown.told.id}/results").content)
    report = markdown_report(Finding("quick", results, None, cards))
    assert "| fine | retrieved | 21 | 0.0312 ± 0.0021 | 0.0043 | 0.87 | 0.64 | 0.97 |" in report


def test_what_tells_the_arms_apart_is_shown_everywhere(api: TestClient, services: Services) -> None:
    shown = Shown(api, post_experiment(services))
    finish_experiment(services, shown.told)
    cards = shown.cards
    assert [(entry.target, entry.arms) for entry in cards.sources] == [
        (target, ("retrieved", "synthetic")) for target in ("fine", "broad")
    ]
    assert shown.page.count("0.913 ± 0.021") == 2 * 3
    assert shown.page.count("adapted on retrieved") == 2
    assert "−7.1" in shown.page
    assert "adapted on synthetic" in terminal(cards)
    results = Results.model_validate_json(api.get(f"/v1/experiments/{shown.told.id}/results").content)
    report = markdown_report(Finding("quick", results, None, cards))
    row = "| fine | retrieved, synthetic | 0.913 ± 0.021 | adapted on retrieved | 45.0 | -7.1 | -1.0 to +0.9 | 0.005 |"
    assert row in report


def test_arms_that_could_not_be_probed_are_shown_without(api: TestClient, services: Services) -> None:
    shown = Shown(api, post_experiment(services))
    results = made_up_results(services.artifacts, shown.told)
    audit, probe = shown.told.plan.audits["fine", "synthetic"], shown.told.plan.probes["fine", "retrieved", "synthetic"]
    finish_only(services, shown.told, {audit: results[audit], probe: SourcesProbed(probe=None)})
    assert [entry.probe for entry in shown.cards.sources] == [None]
    assert "AUC" not in shown.page
    assert "AUC" not in terminal(shown.cards)


def test_cards_of_before_distances_were_measured_are_shown_without_them(api: TestClient, services: Services) -> None:
    shown = Shown(api, post_experiment(services))
    results = made_up_results(services.artifacts, shown.told)
    audit = shown.told.plan.audits["fine", "synthetic"]
    card = results[audit].card.model_copy(update={"distribution": None})  # type: ignore[attr-defined]
    finish_only(services, shown.told, {audit: results[audit].model_copy(update={"card": card})})
    assert "not compared" in shown.page
    assert "Distance" not in terminal(shown.cards)


def test_the_verdict_warns_of_unequal_labels_with_both_figures(api: TestClient, services: Services) -> None:
    shown = Shown(api, judged_experiment(services))
    finish_experiment(services, shown.told, agreeing={"retrieved": 9})
    warned = [warning for warning in shown.warnings if "independent encoder" in warning]
    assert [warning.split(":")[0] for warning in warned] == ["fine", "broad"]
    assert all("42.9 %" in warning and "85.7 %" in warning for warning in warned)


def test_without_a_judge_the_page_says_that_nothing_is_known(api: TestClient, services: Services) -> None:
    shown = Shown(api, post_experiment(services))
    finish_experiment(services, shown.told)
    assert {entry.card.agreement for entry in shown.cards.cards} == {None}
    assert "names no <code>judge_encoder</code>" in shown.page
    assert "Judge agrees" not in shown.page
    assert "names no judge_encoder" in terminal(shown.cards)
    assert not [warning for warning in shown.warnings if "independent encoder" in warning]


def test_cards_appear_as_they_are_measured(api: TestClient, services: Services) -> None:
    shown = Shown(api, post_experiment(services))
    assert not shown.cards.cards
    assert shown.page.startswith('data-live class="card" hidden>')
    assert "No labels are measured" in terminal(shown.cards)
    audit = shown.told.plan.audits["fine", "synthetic"]
    finish_only(services, shown.told, {audit: made_up_results(services.artifacts, shown.told)[audit]})
    assert [(entry.target, entry.arm) for entry in shown.cards.cards] == [("fine", "synthetic")]
    assert "hidden" not in shown.page.split(">")[0]


def test_an_unknown_experiment_has_no_labels(api: TestClient) -> None:
    assert api.get("/v1/experiments/exp_nothing/labels").status_code == 404
