"""Dashboards and alert rules: complete, consistent, and every alert with a runbook. And the checker itself."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.monitoring_files import (
    DASHBOARDS,
    GUIDE,
    MONITORING,
    alert_rules,
    all_queries,
    anchors,
    panel_queries,
    panels,
    read_dashboard,
)
from support.promql import TARGET_LABELS, Exposed, asked_by

SCRAPE = """\
# TYPE touchstone_steps_total counter
touchstone_steps_total{kind="embed_images",outcome="computed"} 3.0
# TYPE touchstone_steps_created gauge
touchstone_steps_created{kind="embed_images",outcome="computed"} 1.0
# TYPE touchstone_step_seconds histogram
touchstone_step_seconds_bucket{kind="embed_images",le="+Inf"} 3.0
touchstone_step_seconds_count{kind="embed_images"} 3.0
touchstone_step_seconds_sum{kind="embed_images"} 3.0
# TYPE touchstone_images_total counter
"""


def test_there_are_the_two_dashboards_with_names_that_links_can_rely_on() -> None:
    found = {path.name: read_dashboard(path) for path in DASHBOARDS}
    assert {name: dashboard["uid"] for name, dashboard in found.items()} == {
        "overview.json": "touchstone-overview",
        "workers.json": "touchstone-workers",
    }
    linked = {link["url"] for dashboard in found.values() for link in dashboard["links"]}
    assert linked == {f"/d/{dashboard['uid']}" for dashboard in found.values()}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_can_be_provisioned_anywhere(path: Path) -> None:
    dashboard = read_dashboard(path)
    assert dashboard["id"] is None, "Grafana gives ids; a dashboard is known by its uid"
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    named = re.findall(r'"uid": "([^"]+)"', path.read_text())
    assert set(named) == {dashboard["uid"], "${datasource}"}
    assert len(named) > 20


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows_in_which_unit(path: Path) -> None:
    found = panels(read_dashboard(path))
    assert len(found) >= 12
    for panel in found:
        assert len(panel["description"]) > 5, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references)) != []
    assert len({panel["title"] for panel in found}) == len(found)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_panels_lie_beside_each_other(path: Path) -> None:
    boxes = [panel["gridPos"] for panel in read_dashboard(path)["panels"]]
    ids = [panel["id"] for panel in read_dashboard(path)["panels"]]
    assert len(set(ids)) == len(ids) > 12
    assert all(box["x"] + box["w"] <= 24 for box in boxes)
    assert not [pair for pair in itertools.combinations(boxes, 2) if overlap(*pair)]


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    across = one["x"] < other["x"] + other["w"] and other["x"] < one["x"] + one["w"]
    return across and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_legend_names_what_tells_the_lines_apart(path: Path) -> None:
    queries = list(panel_queries(read_dashboard(path)))
    assert len(queries) >= 12
    for query in queries:
        named = set(re.findall(r"{{(\w+)}}", query.legend))
        assert named == asked_by(query.expression).grouping - {"le"} or not named, query
        assert named <= asked_by(query.expression).grouping, query


def test_every_expression_is_promql_about_metrics_of_this_system() -> None:
    queries = all_queries()
    assert len(queries) > 45
    for query in queries:
        selectors = asked_by(query.expression).selectors
        assert selectors, query
        assert all(s.name == "up" or s.name.startswith(("touchstone_", "process_")) for s in selectors), query


def test_variables_of_a_dashboard_that_queries_use_are_defined() -> None:
    for path in DASHBOARDS:
        dashboard = read_dashboard(path)
        defined = {variable["name"] for variable in dashboard["templating"]["list"]}
        used = set(re.findall(r"\$(?!__)\{?(\w+)", path.read_text()))
        assert used == defined, path.name


def test_every_alert_says_how_bad_it_is_and_has_a_runbook_that_exists() -> None:
    rules, headings = alert_rules(), anchors(GUIDE.read_text())
    assert len(rules) >= 10
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == str(GUIDE.relative_to(MONITORING.parent)), rule["alert"]
        assert anchor == rule["alert"].lower(), rule["alert"]
        assert anchor in headings, rule["alert"]


def test_every_runbook_has_its_alert() -> None:
    headings = {heading for heading in anchors(GUIDE.read_text()) if heading.startswith("touchstone")}
    assert headings == {rule["alert"].lower() for rule in alert_rules()}


def test_a_summary_names_only_labels_that_its_alert_keeps() -> None:
    seen = 0
    for rule in alert_rules():
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            seen += 1
            assert label in asked_by(rule["expr"]).grouping | TARGET_LABELS, rule["alert"]
    assert seen >= 6


def test_prometheus_reads_the_rules_and_scrapes_what_they_name() -> None:
    configuration: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert [MONITORING / name for name in configuration["rule_files"]] == [MONITORING / "alerts.yml"]
    jobs = {each["job_name"] for each in configuration["scrape_configs"]}
    [down] = [rule for rule in alert_rules() if rule["alert"] == "TouchstoneProcessDown"]
    assert set(re.findall(r"\w+(?=[|\"])", down["expr"].split("=~")[1])) == jobs


def test_grafana_is_provisioned_with_the_folder_and_the_server_of_compose() -> None:
    folder = MONITORING / "grafana" / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "touchstone.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((folder / "dashboards" / "touchstone.yml").read_text())["providers"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert provider["options"]["path"] == "/var/lib/touchstone/dashboards"
    assert not list(folder.rglob("*.json")), "dashboards lie one folder up"


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("sum(touchstone_stepz_total)", "touchstone_stepz_total was exposed by no process"),
        ("touchstone_steps", "touchstone_steps was exposed by no process"),
        ("rate(touchstone_images_total[5m])", "touchstone_images_total was exposed by no process"),
        ('touchstone_steps_total{queue="x"}', "touchstone_steps_total has no label queue"),
        ('touchstone_steps_total{outcome="calculated"}', "touchstone_steps_total has no outcome 'calculated'"),
        ("sum by (queue) (touchstone_steps_total)", "no metric of it has the label queue"),
        ("touchstone_steps_total / unknown_metric", "unknown_metric was exposed by no process"),
        ("sum(rate(touchstone_steps_total[5m])) > 0 unless (b or c)", "b was exposed by no process"),
        ('{kind="embed_images"}', "a metric without a name was exposed by no process"),
        ("max_over_time(max(wrong)[1h:1m])", "wrong was exposed by no process"),
        ("1 + 1", "it asks for no metric"),
    ],
)
def test_the_check_finds_what_no_process_exposed(expression: str, complaint: str) -> None:
    missing = Exposed.of([SCRAPE]).missing(expression)
    assert [each for each in missing if each.startswith(complaint)], missing


@pytest.mark.parametrize(
    "expression",
    [
        "sum by (kind) (rate(touchstone_steps_total[$__rate_interval]))",
        'touchstone_steps_total{outcome="computed", kind=~"$kind", instance=~"$instance"}',
        "histogram_quantile(0.95, sum by (le, kind) (rate(touchstone_step_seconds_bucket[5m])))",
        'up{job=~"api|conductor"} == 0',
        "sum by (job, instance) (touchstone_step_seconds_count)",
    ],
)
def test_the_check_is_content_with_what_was_exposed(expression: str) -> None:
    assert Exposed.of([SCRAPE]).missing(expression) == []


@pytest.mark.parametrize("text", ["sum(", "rate(touchstone_steps_total[)", "sum by kind (x)", ""])
def test_the_check_refuses_what_is_no_promql(text: str) -> None:
    with pytest.raises(ValueError, match="is no PromQL"):
        asked_by(text)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafanas_own_types_know_every_field_of_a_dashboard(path: Path) -> None:
    register_default_plugins()
    dashboard = read_dashboard(path)
    known = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    # Null marks a dashboard that is new to a Grafana; `definition` repeats a variable's query for display.
    assert set(unknown_fields(dashboard, known)) == {"/id", "/templating/list/definition"}
    dashboard["panels"][1]["fieldConfig"]["defaults"]["unitt"] = "s"
    assert "/panels/fieldConfig/defaults/unitt" in unknown_fields(dashboard, known)


def unknown_fields(ours: Any, known: Any, pointer: str = "") -> list[str]:
    """Where `ours` says something that was lost on the way through Grafana's types."""
    if isinstance(ours, dict):
        lost = [f"{pointer}/{name}" for name in ours if name not in known]
        return lost + [
            each
            for name in ours
            if name in known
            for each in unknown_fields(ours[name], known[name], f"{pointer}/{name}")
        ]
    if isinstance(ours, list):
        assert len(ours) == len(known), pointer
        return [each for one, other in zip(ours, known, strict=True) for each in unknown_fields(one, other, pointer)]
    return []
