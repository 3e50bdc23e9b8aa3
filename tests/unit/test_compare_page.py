"""Experiments side by side: the numbers are those of the API, and nobody sees what is not theirs."""

import re
from dataclasses import dataclass
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, finish_experiment, post, post_experiment
from support.memory_services import api_client, memory_services
from support.pages import ESCAPED, NASTY, of_another_project, page, section, texts
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.spec_differences import NOT_SET, flattened, spec_differences
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.experiment import Comparison

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Two:
    """Two finished experiments, and one that waits."""

    services: Services
    api: TestClient
    first: Told
    second: Told
    waiting: Told

    def address(self, *told: Told) -> str:
        return "/compare?" + "&".join(f"id={each.id}" for each in told)

    def asked(self, told: Told, what: str) -> Any:
        return self.api.get(f"/v1/experiments/{told.id}/{what}").json()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    services = memory_services(tmp_path_factory.mktemp("compared"))
    lookup = DictLookup()
    first = post_experiment(services, spec(seeds=SEEDS), lookup=lookup)
    comparison = Comparison(a="synthetic", b="retrieved", delta=0.02)
    second = post(services, spec(name=NASTY, seeds=SEEDS, sizes=(12, 24), comparison=comparison), lookup)
    finish_experiment(services, first)
    finish_experiment(services, second, exhausted=frozenset({("synthetic", 24)}))
    waiting = post(services, spec(name="waits", seeds=(7, 8)), lookup)
    return Two(services, api_client(services, raise_server_exceptions=False), first, second, waiting)


def test_accuracies_are_those_of_the_results(two: Two) -> None:
    shown = texts(section(page(two.api, two.address(two.first, two.second)), "accuracies-title"), "td")
    found = 0
    for told in (two.first, two.second):
        for row in two.asked(told, "results")["summary"]:
            assert f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}" in shown
            found += 1
    assert found == 2 * 2 * (1 + 4) + 2 * 2 * (1 + 3)  # targets x metrics x (untouched and (arm, size) pairs)


def test_each_row_of_accuracies_is_of_one_arm_and_size(two: Two) -> None:
    rows = texts(section(page(two.api, two.address(two.first, two.second)), "accuracies-title"), "tr")
    summary = {
        (row["target"], row["metric"], row["arm"], row["size"]): f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}"
        for row in two.asked(two.first, "results")["summary"]
    }
    assert f"retrieved 6 {summary['fine', 'zero_shot', 'retrieved', 6]} —" in rows
    assert sum(row.startswith("none untouched") for row in rows) == 2 * 2
    assert sum(row.startswith("synthetic 12") for row in rows) == 2 * 2


def test_a_size_that_one_of_them_could_not_reach_is_said(two: Two) -> None:
    third = post(two.services, spec(name="third", seeds=SEEDS, sizes=(12, 24)), DictLookup())
    finish_experiment(two.services, third)
    shown = texts(section(page(two.api, two.address(two.second, third)), "accuracies-title"), "td")
    assert shown.count("only 7 images") == 2 * 2


def test_differences_are_those_of_the_verdicts(two: Two) -> None:
    html = section(page(two.api, two.address(two.first, two.second)), "verdicts-title")
    rows = texts(html, "tr")[1:]
    assert len(rows) == 2
    for told, row in zip((two.first, two.second), rows, strict=True):
        verdict = two.asked(told, "verdict")
        primary = verdict["primary"]
        numbers = [f"{100 * primary[name]:+.1f}".replace("-", "−") for name in ("difference", "low", "high")]
        assert f"{verdict['a']} − {verdict['b']} zero-shot accuracy {numbers[0]} {numbers[1]} to {numbers[2]}" in row
        assert f"95 % {100 * verdict['delta']:.1f} {primary['seeds']}" in row
    assert {two.asked(told, "verdict")["delta"] for told in (two.first, two.second)} == {0.01, 0.02}


def test_intervals_are_drawn_on_one_axis(two: Two) -> None:
    html = section(page(two.api, two.address(two.first, two.second)), "verdicts-title")
    ticks = [
        (float(x), float(value.replace("−", "-")))
        for x, value in re.findall(r'<text class="tick" x="([\d.]+)"[^>]*>([^<]+)<', html)
    ]
    (left, least), (right, most) = ticks[0], ticks[-1]
    lines = re.findall(r'<line class="interval" x1="([\d.]+)" x2="([\d.]+)"', html)
    assert len(lines) == 2
    for told, line in zip((two.first, two.second), lines, strict=True):
        primary = two.asked(told, "verdict")["primary"]
        for x, end in zip(line, (primary["low"], primary["high"]), strict=True):
            points = least + (float(x) - left) * (most - least) / (right - left)
            assert points == pytest.approx(100 * end, abs=0.01)


def test_an_experiment_without_a_verdict_says_why(two: Two) -> None:
    html = page(two.api, two.address(two.first, two.waiting))
    assert html.count('<line class="interval"') == 1
    assert "There is no verdict yet." in section(html, "verdicts-title")
    two_waiting = post(two.services, spec(name="waits too", seeds=(8, 9)), DictLookup())
    html = page(two.api, two.address(two.waiting, two_waiting))
    assert '<svg class="drawing"' not in html
    assert "Nothing is measured yet" in html


def test_a_cancelled_experiment_is_not_said_to_be_on_its_way(two: Two) -> None:
    ended = post(two.services, spec(name="ended", seeds=(3, 4)), DictLookup())
    assert two.api.post(f"/v1/experiments/{ended.id}/cancel").status_code == 200
    html = page(two.api, two.address(two.first, ended))
    assert html.count("was cancelled before there was a verdict") == 2


def test_the_table_of_settings_has_only_what_differs(two: Two) -> None:
    html = section(page(two.api, two.address(two.first, two.second)), "settings-title")
    rows = texts(html, "tr")[1:]
    assert rows[:2] == ["sizes 6, 12 12, 24", "comparison null —"]
    assert {"comparison.a — synthetic", "comparison.b — retrieved", "comparison.delta — 0.02"} <= set(rows)
    assert len(rows) >= 8
    assert all(row.startswith("comparison.") for row in rows[2:])


def test_specs_that_differ_in_their_names_alone_say_so(two: Two) -> None:
    again = spec(name="the same again", seeds=SEEDS)
    assert spec_differences([two.first.spec, again]) == []


def test_arms_are_compared_by_their_names() -> None:
    arms = (NoTraining(), Retrieval(name="retrieved"), Generation(name="made", generator="diffusion", images=300))
    moved = (arms[2].model_copy(update={"images": 600}), arms[0], arms[1])
    differences = spec_differences([spec(arms=arms), spec(arms=moved)])
    assert [(each.path, each.values) for each in differences] == [("arms.made.images", ("300", "600"))]


def test_an_arm_that_one_spec_lacks_has_no_values_there() -> None:
    arms = (NoTraining(), Retrieval(name="retrieved"), Generation(name="made", generator="diffusion", images=300))
    differences = spec_differences([spec(arms=arms), spec(arms=arms[:2])])
    assert len(differences) >= 5
    assert all(each.path.startswith("arms.made.") and each.values[1] == NOT_SET for each in differences)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"a": {"b": 1}}, {("a", "b"): "1"}),
        ({"a": {}}, {("a",): "{}"}),
        ({"a": []}, {("a",): "[]"}),
        ({"a": [1, 2]}, {("a",): "1, 2"}),
        ({"a": [{"name": "x"}, {"name": "y"}]}, {("a", "x", "name"): "x", ("a", "y", "name"): "y"}),
        ({"a": [{"n": 1}, {"n": 2}]}, {("a", "0", "n"): "1", ("a", "1", "n"): "2"}),
        ({"a": [{"name": "x"}, {"name": "x"}]}, {("a", "0", "name"): "x", ("a", "1", "name"): "x"}),
        ({"a.b": {"c": None}}, {("a.b", "c"): "null"}),
        ({"a": [[1, 2], [3]]}, {("a",): "1, 2, 3"}),
        ({"a": [{"n": 1}, 2]}, {("a", "0", "n"): "1", ("a", "1"): "2"}),
    ],
)  # fmt: skip
def test_documents_are_flattened_by_path(document: Any, found: dict[tuple[str, ...], str]) -> None:
    assert dict(flattened(document)) == found


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "none was named"),
        ("?id=", "none was named"),
        ("?id={first}", "one was named"),
        ("?id={first}&id={first}", "one was named"),
        ("?" + "&".join(f"id=exp_{number}" for number in range(21)), "21 were named"),
    ],
)
def test_too_few_or_too_many_experiments_are_refused(two: Two, query: str, words: str) -> None:
    answer = two.api.get(f"/compare{query}".format(first=two.first.id), headers={"Accept": "text/html"})
    assert answer.status_code == 422
    assert "2 to 20 different experiments" in answer.text
    assert words in answer.text
    assert answer.headers["content-type"].startswith("text/html")


def test_an_unknown_experiment_is_not_found(two: Two) -> None:
    answer = two.api.get(f"{two.address(two.first)}&id=exp_nothing", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "exp_nothing" in answer.text


def test_an_experiment_of_another_project_is_not_found(two: Two) -> None:
    other = of_another_project(two.services)
    addresses = [two.address(two.first, two.second), f"{two.address(two.first)}&id=exp_nothing"]
    answers = [other.get(address) for address in addresses]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert f"no experiment {two.first.id!r}" in unescape(answers[0].text)


def test_names_are_escaped_everywhere(two: Two) -> None:
    html = page(two.api, two.address(two.first, two.second))
    assert NASTY not in html
    assert html.count(ESCAPED) >= 5


def test_every_table_has_a_caption_and_every_section_a_heading(two: Two) -> None:
    html = page(two.api, two.address(two.first, two.second))
    assert len(re.findall("<table", html)) == 2 + 4 == len(re.findall("<caption", html))
    headings = re.findall(r'<section aria-labelledby="([^"]+)"', html)
    assert len(headings) == 4
    assert all(f'id="{heading}"' in html for heading in headings)


def test_one_of_three_can_be_left_out_and_another_added(two: Two) -> None:
    html = page(two.api, two.address(two.first, two.second, two.waiting))
    leaving_out = re.findall(r'href="(/compare[^"]+)"', html)
    assert len(leaving_out) == 3
    assert leaving_out[1].replace("&amp;", "&") == two.address(two.first, two.waiting)
    assert html.count('<input type="hidden" name="id"') == 3
    assert "/compare?" not in page(two.api, two.address(two.first, two.second))


def test_the_list_offers_to_compare_without_a_script(two: Two) -> None:
    html = page(two.api, "/")
    form = html.split('<form action="/compare"')[1].split("</form>")[0]
    boxes = re.findall(r'<input type="checkbox" name="id" value="([^"]+)"', form)
    assert len(boxes) == form.count('class="card entry"') >= 3
    assert {two.first.id, two.second.id, two.waiting.id} <= set(boxes)
    assert '<button type="submit">Compare</button>' in form
