"""The dashboard's pages as HTML: true, escaped, and without inline scripts."""

import gzip
import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, finish_only, made_up_results, post_experiment
from support.memory_services import api_client
from support.specs import spec
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.assets import assets_folder
from touchstone_api.dashboard.facts import KIND_WORDS, progress_by_kind
from touchstone_api.dashboard.pools import curated_pool
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import CurationReport, drop_words
from touchstone_contracts.steps import CATALOGUE
from touchstone_contracts.views import StepView

NASTY = "<script>alert(1)</script> & co"
BROWSER = {"Accept": "text/html"}


def test_an_empty_list_says_how_to_begin(api: TestClient) -> None:
    assert "touchstone run" in api.get("/").text


def test_every_kind_of_step_is_called_by_words() -> None:
    assert set(KIND_WORDS) == set(CATALOGUE)
    assert len(KIND_WORDS) >= 21


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
    for path in ("/", f"/experiments/{told.id}"):
        answer = api.get(path)
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


def test_the_form_begins_with_an_example_or_with_the_spec_of_a_parent(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(name=NASTY))
    assert '"arms"' in unescape(api.get("/new").text)
    cloned = api.get("/new", params={"parent": told.id})
    assert NASTY not in cloned.text
    filled = re.search(r"<textarea[^>]*>(.*)</textarea>", cloned.text, re.DOTALL)
    assert filled is not None
    assert json.loads(unescape(filled[1])) == told.spec.model_dump(mode="json")
    assert f'data-parent="{told.id}"' in cloned.text
    assert api.get("/new", params={"parent": "exp_nothing"}).status_code == 404


def test_an_unknown_experiment_is_a_page_not_found(api: TestClient) -> None:
    answer = api.get("/experiments/exp_nothing", headers=BROWSER)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_every_asset_a_page_names_is_served(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    named = {
        asset
        for path in ("/", "/new", "/docs", f"/experiments/{told.id}")
        for asset in re.findall(r'(?:src|href)="(/assets/[^"]+)"', api.get(path).text)
    }
    assert f"{assets_folder()}/swagger-ui-bundle.js" in named
    assert len(named) == 14
    scripts = {asset for asset in named if asset.endswith(".js") and ".min." not in asset and "bundle" not in asset}
    imported = {
        f"{assets_folder()}/{module}"
        for script in scripts
        for module in re.findall(r'from "\./(\S+)"', api.get(script).text)
    }
    assert len(imported) == 8
    named |= imported
    answers = [api.get(asset) for asset in named]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["cache-control"] for answer in answers} == {"public, max-age=31536000, immutable"}
    assert api.get("/assets/../main.py").status_code == 404
    assert api.get("/assets/rendering.py").status_code == 404


def test_an_asset_under_the_path_of_another_version_is_kept_for_minutes(api: TestClient) -> None:
    for address in ("/assets/style.css", "/assets/0123456789abcdef/style.css"):
        assert api.get(address).headers["cache-control"] == "public, max-age=300"


def test_assets_are_compressed_for_those_who_read_that(api: TestClient) -> None:
    small, large = (
        api.get("/assets/swagger-ui.css", headers={"Accept-Encoding": encoding})
        for encoding in ("gzip, br", "identity")
    )
    assert small.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in large.headers
    assert small.headers["vary"] == large.headers["vary"] == "Accept-Encoding"
    assert int(small.headers["content-length"]) < int(large.headers["content-length"]) / 4
    assert small.content == large.content
    assert api.get("/assets/rendering.py", headers={"Accept-Encoding": "gzip"}).status_code == 404


def compressed_sizes(api: TestClient, address: str) -> list[int]:
    """In bytes: of the page, of what it names, and of what its scripts import."""
    html = api.get(address).text
    named = set(re.findall(r'(?:src|href)="(/assets/[^"]+)"', html))
    bodies = {asset: api.get(asset).text for asset in named}
    imported = {
        f"{assets_folder()}/{name}" for body in bodies.values() for name in re.findall(r'from "\./(\S+)"', body)
    }
    return [len(gzip.compress(api.get(each).content)) for each in {address, *named, *imported}]


def test_the_list_loads_in_a_hundred_kilobytes(api: TestClient) -> None:
    sizes = compressed_sizes(api, "/")
    assert len(sizes) >= 4
    assert sum(sizes) < 100_000


def test_an_experiment_with_all_its_charts_loads_in_a_hundred_kilobytes_before_its_images(
    api: TestClient, services: Services
) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24)))
    finish_experiment(services, told)
    sizes = compressed_sizes(api, f"/experiments/{told.id}")
    assert len(sizes) >= 10
    assert sum(sizes) < 100_000


def test_every_table_has_a_caption_and_every_section_a_heading(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24)))
    finish_experiment(services, told)
    html = api.get(f"/experiments/{told.id}").text
    tables = re.findall(r"<table[^>]*>\s*(<\w+)", html)
    assert (
        len(tables) == 7 + 1 + 4 + 4 + 1 + 1 + 4 + 4
    )  # verdict, progress, results, labels, account, counts, funnels, pools
    assert set(tables) == {"<caption"}
    labelled = re.findall(r'<section aria-labelledby="([^"]+)"', html)
    assert len(labelled) == 14
    assert all(f'<h2 id="{heading}">' in html for heading in labelled)


def test_the_page_has_every_arm_against_the_untouched_encoder_at_each_target_and_size(
    api: TestClient, services: Services
) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24)))
    finish_experiment(services, told, truth=lambda cell, metric: 0.5)
    html = api.get(f"/experiments/{told.id}").text
    assert '<p class="headline">Neither retrieved nor synthetic is shown to improve on the untouched encoder' in html
    _, table = html.split("At each target and size, in zero-shot accuracy")
    rows = re.findall(r'<tr><th scope="row">', table.split("</table>")[0])
    assert len(rows) == 2 * 2 * 3  # targets, arms, sizes
    assert "not shown to improve" in table


def test_a_pool_is_shown_before_and_after_with_the_reasons_by_class(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    pools = api.get(f"/experiments/{told.id}").text.split('<details class="pool">')[1:]
    assert len(pools) == 4  # targets x arms
    for pool in pools:
        assert "21 of 30 images kept, in 3 of 3 classes" in pool
        headings = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', pool)
        assert headings == ["Class", "Obtained", "Leaked", "Near-duplicate", "Filtered", "Kept"]
        rows = re.findall(r'<th scope="row">(thing \d)</th>(.*?)</tr>', pool)
        numbers = {name: re.findall(r"\d+", re.sub("<[^>]+>", " ", cells)) for name, cells in rows}
        # The smallest share kept comes first: 7 of 11, 7 of 10, 7 of 9.
        assert list(numbers) == ["thing 1", "thing 0", "thing 2"]
        assert numbers["thing 1"] == ["11", "0", "2", "2", "7"]
        assert pool.count('<rect class="obtained"') == 3


def test_every_reason_has_a_column_of_its_own() -> None:
    reasons = list(drop_words())
    assert len(reasons) >= 9
    labels = [ClassLabel(id=0, display_name="thing")]
    dropped = {reason: (number,) for number, reason in enumerate(reasons, 1)}
    report = CurationReport(obtained_by_class=(100,), dropped_by_class=dropped, kept_by_class=(40,), class_coverage=1.0)
    pool = curated_pool("fine", "made", report, labels)
    assert len(set(pool.reasons)) == len(reasons)
    assert sorted(pool.classes[0].dropped) == list(range(1, len(reasons) + 1))


def test_many_classes_show_the_ones_that_kept_least() -> None:
    labels = [ClassLabel(id=number, display_name=f"thing {number}") for number in range(50)]
    report = CurationReport(
        obtained_by_class=(100,) * 49 + (0,),
        dropped_by_class={"filtered": (*range(100, 51, -1), 0)},
        kept_by_class=(*range(49), 0),
        class_coverage=48 / 50,
    )
    pool = curated_pool("fine", "made", report, labels)
    assert (len(pool.classes), pool.all_classes, pool.scores) == (20, 50, None)
    assert [entry.name for entry in pool.classes[:3]] == ["thing 0", "thing 49", "thing 1"]


def test_the_class_table_is_offered_once_every_seed_and_the_untouched_encoder_are_measured(
    api: TestClient, services: Services
) -> None:
    told = post_experiment(services)
    results = made_up_results(services.artifacts, told)
    arms = {cell: step for cell, step in told.plan.evaluations.items() if cell.target == "fine"}
    tests = {step: results[step] for step in told.plan.tests.values()}
    finish_only(services, told, {arms[cell]: results[arms[cell]] for cell in arms if cell.size == 6} | tests)
    assert measured(api, told.id) == []  # the untouched encoder is missing
    finish_only(services, told, {arms[cell]: results[arms[cell]] for cell in arms if cell.size == 0})
    offered = measured(api, told.id)
    assert offered == [
        ["fine", arm, 6, metric, "test"]
        for arm in ("retrieved", "synthetic")
        for metric in ("linear_probe", "zero_shot")
    ]
    for target, arm, size, metric, test_set in offered:
        query = {"target": target, "arm": arm, "size": size, "metric": metric, "test_set": test_set}
        assert api.get(f"/v1/experiments/{told.id}/classes", params=query).status_code == 200


def measured(api: TestClient, experiment: str) -> list[list[Any]]:
    found = re.search(r'data-measured="([^"]*)"', api.get(f"/experiments/{experiment}").text)
    assert found is not None
    tables: list[list[Any]] = json.loads(unescape(found[1]))
    return tables


def test_costs_come_in_the_currency_of_the_prices_that_are_set(services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    path = f"/experiments/{told.id}"
    assert "No prices are set" in api_client(services).get(path).text
    prices = services.settings.model_copy(update={"cpu_hour_price": 7.5})
    html = api_client(replace(services, settings=prices)).get(path).text
    assert "¤\N{NO-BREAK SPACE}7.5 an hour of a CPU core." in html
    assert html.count("<div>¤") == 2 * 5  # arms x (sourcing, adapting, per point, at least, at most)


def test_no_page_names_an_address_elsewhere(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    finish_experiment(services, told)
    paths = ("/", "/new", "/docs", f"/experiments/{told.id}", "/experiments/exp_nothing")
    for path in paths:
        answer = api.get(path, headers=BROWSER)
        found = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
        assert len(found) >= 5
        assert all(re.match(r"[/#](?!/)", address) for address in found), path
        assert "//" not in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"url\((?!\"?data:)", api.get("/assets/swagger-ui.css").text)
    assert api.get("/redoc").status_code == 404


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
