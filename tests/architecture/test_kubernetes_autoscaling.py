"""ScaledJobs start the workers that the Deployments would have run, and read a gauge that the conductor has."""

from copy import deepcopy
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.deployment import WORKERS
from support.manifests import Manifest, Manifests, of_kind, pods, render_components
from touchstone_conductor.metrics import ConductorMetrics

AROUND = ("servers", "gpu", "release", "registry")


@pytest.fixture(scope="module")
def scaled(kustomize_tree: Path) -> Manifests:
    """As AROUND, with the component."""
    return render_components(kustomize_tree, ("servers", "gpu", "autoscaling", "release", "registry"))


@pytest.fixture(scope="module")
def triggers(scaled: Manifests) -> dict[str, list[Manifest]]:
    return {name: each["spec"]["triggers"] for name, each in of_kind(scaled, "ScaledJob").items()}


def test_every_worker_with_pytorch_is_scaled_and_the_judge_runs_besides(scaled: Manifests) -> None:
    assert set(of_kind(scaled, "ScaledJob")) == set(WORKERS)
    assert set(of_kind(scaled, "Deployment")) == {"api", "conductor", "judge"}


def test_a_scaled_worker_is_the_deployed_one_that_leaves_when_it_is_idle(
    scaled: Manifests, kustomize_tree: Path
) -> None:
    deployed = pods(render_components(kustomize_tree, AROUND))
    for name in WORKERS:
        expected = deepcopy(deployed[name].template)
        expected["metadata"]["annotations"] = {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
        }
        expected["spec"]["restartPolicy"] = "OnFailure"
        expected["spec"]["containers"][0]["env"] = [{"name": "TOUCHSTONE_EXIT_WHEN_IDLE_SECONDS", "value": "300"}]
        assert pods(scaled)[name].template == expected


def test_scaling_goes_to_zero_and_to_forty_and_ends_no_worker(scaled: Manifests) -> None:
    for scaled_job in of_kind(scaled, "ScaledJob").values():
        spec = scaled_job["spec"]
        assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 40)
        assert spec["rollout"] == {"strategy": "gradual"}
        assert spec["scalingStrategy"] == {"strategy": "default", "multipleScalersCalculation": "sum"}
        # A deadline would end a step that computes.
        assert "activeDeadlineSeconds" not in spec["jobTargetRef"]


def test_triggers_add_up_the_waiting_and_the_running_steps_of_their_queue(
    triggers: dict[str, list[Manifest]],
) -> None:
    for name, both in triggers.items():
        assert [trigger["name"] for trigger in both] == ["queued", "leased"]
        for trigger in both:
            assert trigger["type"] == "metrics-api"
            assert trigger["metadata"]["format"] == "prometheus"
            assert trigger["metadata"]["targetValue"] == "1"
            location = f'touchstone_queue_steps{{queue="{name}",state="{trigger["name"]}"}}'
            assert trigger["metadata"]["valueLocation"] == location


def test_triggers_ask_the_conductor_where_it_answers(scaled: Manifests, triggers: dict[str, list[Manifest]]) -> None:
    conductor = of_kind(scaled, "Service")["conductor"]
    host = f"{conductor['metadata']['name']}.{conductor['metadata']['namespace']}.svc.cluster.local"
    [port] = conductor["spec"]["ports"]
    addresses = [urlsplit(each["metadata"]["url"]) for both in triggers.values() for each in both]
    assert len(addresses) == 6
    assert {(a.scheme, a.hostname, a.port, a.path) for a in addresses} == {("http", host, port["port"], "/metrics")}


def test_the_conductor_has_the_gauge_that_triggers_name(triggers: dict[str, list[Manifest]]) -> None:
    metrics = ConductorMetrics()
    for queue in WORKERS:
        for state in ("queued", "leased"):
            metrics.steps.labels(queue, state).set(7)
    told = {
        f"{sample.name}{{{','.join(f'{key}={value!r}' for key, value in sample.labels.items())}}}".replace("'", '"')
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())
        for sample in family.samples
    }
    asked = {each["metadata"]["valueLocation"] for both in triggers.values() for each in both}
    assert len(asked) == 6
    assert asked <= told
