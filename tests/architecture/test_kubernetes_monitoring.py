"""A cluster scrapes, alarms and shows what docker compose does: from the same files."""

import json
import shutil
import subprocess
from pathlib import Path

import yaml
from support.deployment import ROOT
from support.manifests import Manifests, of_kind, pods

ALERTS = yaml.safe_load((ROOT / "monitoring/alerts.yml").read_text())
SCRAPED = yaml.safe_load((ROOT / "monitoring/prometheus.yml").read_text())
DASHBOARDS = sorted(path.name for path in (ROOT / "monitoring/grafana").glob("*.json"))


def test_the_small_prometheus_has_the_files_of_compose(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay in ("local", "gpu"):
        manifests = rendered_overlays[overlay]
        [volume] = [v for v in pods(manifests)["prometheus"].spec["volumes"] if v["name"] == "config"]
        config = of_kind(manifests, "ConfigMap")[volume["configMap"]["name"]]["data"]
        assert yaml.safe_load(config["prometheus.yml"]) == SCRAPED
        assert yaml.safe_load(config["alerts.yml"]) == ALERTS
        assert set(SCRAPED["rule_files"]) | {"prometheus.yml"} == set(config)


def test_the_operators_rules_are_those_of_the_file(rendered_overlays: dict[str, Manifests]) -> None:
    [rule] = of_kind(rendered_overlays["cluster"], "PrometheusRule").values()
    assert rule["spec"] == ALERTS
    assert sum(len(group["rules"]) for group in ALERTS["groups"]) >= 5


def test_the_committed_rule_is_what_the_script_writes(tmp_path: Path) -> None:
    for folder in ("k8s/components/monitoring", "monitoring"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    written = tmp_path / "k8s/components/monitoring/prometheus-rule.yaml"
    before = written.read_text()
    subprocess.run([written.parent / "make-prometheus-rule"], check=True, timeout=60)
    assert written.read_text() == before, "run k8s/components/monitoring/make-prometheus-rule"


def test_the_operators_prometheus_uses_the_same_names_of_jobs(rendered_overlays: dict[str, Manifests]) -> None:
    """The rules and dashboards choose by them."""
    monitors = of_kind(rendered_overlays["cluster"], "PodMonitor")
    assert set(monitors) == {job["job_name"] for job in SCRAPED["scrape_configs"]}
    for name, monitor in monitors.items():
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": name}]
        assert endpoint["interval"] == SCRAPED["global"]["scrape_interval"]


def test_every_dashboard_is_offered_to_grafana(rendered_overlays: dict[str, Manifests]) -> None:
    dashboards = of_kind(rendered_overlays["cluster"], "ConfigMap")["grafana-dashboards"]
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len(DASHBOARDS) >= 2
    assert sorted(dashboards["data"]) == DASHBOARDS
    for name, text in dashboards["data"].items():
        assert json.loads(text) == json.loads((ROOT / "monitoring/grafana" / name).read_text())
