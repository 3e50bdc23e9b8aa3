"""Dashboards and alert rules as data."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from support.deployment import ROOT

MONITORING = ROOT / "monitoring"
GUIDE = ROOT / "docs" / "guides" / "monitoring.md"
DASHBOARDS = sorted((MONITORING / "grafana").glob("*.json"))


@dataclass(frozen=True)
class Query:
    """One expression and where it stands."""

    location: str
    expression: str
    legend: str = ""


def read_dashboard(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the rows, those in collapsed rows too."""
    nested = [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", []))]
    return [panel for panel in nested if panel["type"] != "row"]


def panel_queries(dashboard: dict[str, Any]) -> Iterator[Query]:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield Query(f"{dashboard['title']} / {panel['title']}", target["expr"], target["legendFormat"])


def variable_queries(dashboard: dict[str, Any]) -> Iterator[Query]:
    """`label_values(metric, label)` of each variable, as the expression that asks for the same."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            yield Query(f"{dashboard['title']} / variable {variable['name']}", f"count by ({label}) ({metric})")


def alert_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "alerts.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def alert_queries() -> Iterator[Query]:
    for rule in alert_rules():
        yield Query(f"alert {rule['alert']}", rule["expr"])


def all_queries() -> list[Query]:
    found = list(alert_queries())
    for path in DASHBOARDS:
        dashboard = read_dashboard(path)
        found += [*panel_queries(dashboard), *variable_queries(dashboard)]
    return found


def anchors(page: str) -> set[str]:
    """Of the headings of a Markdown page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def documented_metrics() -> dict[str, tuple[str, frozenset[str]]]:
    """Name -> (type, labels) as the guide's tables have them: | `name` | type | `label`, `label` | ... |"""
    rows = re.findall(r"^\| `(touchstone_\w+)` \| (\w+) \| ([^|]*) \|", GUIDE.read_text(), flags=re.MULTILINE)
    found = {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(found) == len(rows), "a metric stands in the guide twice"
    return found
