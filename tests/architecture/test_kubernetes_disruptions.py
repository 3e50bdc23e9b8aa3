"""A rollout on full nodes ends, a node can be drained, and replicas do not share one by choice."""

from fractions import Fraction
from math import ceil

import pytest
from support.deployment import WORKERS
from support.manifests import Manifest, Manifests, container, of_kind, pods
from support.network_policies import selects


def surge(deployment: Manifest) -> int:
    """Pods beyond its replicas that a rollout starts before it stops old ones."""
    strategy = deployment["spec"].get("strategy", {})
    if strategy.get("type") == "Recreate":
        return 0
    return rounded(strategy.get("rollingUpdate", {}).get("maxSurge", "25%"), deployment["spec"]["replicas"])


def rounded(number: int | str, replicas: int) -> int:
    """A percentage is rounded up, as Kubernetes does for a surge and for a disruption budget."""
    return number if isinstance(number, int) else ceil(Fraction(number.rstrip("%")) * replicas / 100)


def disruptions_allowed(budget: Manifest, replicas: int) -> int:
    """How many of `replicas` healthy pods may be evicted."""
    spec = budget["spec"]
    if "maxUnavailable" in spec:
        return min(replicas, rounded(spec["maxUnavailable"], replicas))
    return max(0, replicas - rounded(spec["minAvailable"], replicas))


def test_a_rollout_of_gpu_workers_ends_on_a_node_whose_gpus_are_all_used(
    rendered_overlays: dict[str, Manifests],
) -> None:
    deployments = of_kind(rendered_overlays["gpu"], "Deployment")
    for name in WORKERS:
        deployment = deployments[name]
        each = int(container(rendered_overlays["gpu"], name)["resources"]["limits"]["nvidia.com/gpu"])
        replicas = deployment["spec"]["replicas"]
        on_the_node = replicas * each
        assert (replicas + surge(deployment)) * each <= on_the_node, f"{name} waits for a GPU that its old pod holds"


def test_the_arithmetic_of_a_rollout_is_that_of_kubernetes() -> None:
    rolling = {"spec": {"replicas": 1}}
    assert surge(rolling) == 1
    assert surge({"spec": {"replicas": 8}}) == 2
    assert surge({"spec": {"replicas": 1, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}}) == 0
    assert disruptions_allowed({"spec": {"minAvailable": 1}}, 1) == 0
    assert disruptions_allowed({"spec": {"minAvailable": "50%"}}, 4) == 2


def test_each_gpu_worker_gets_a_gpu_of_its_own_on_a_node_that_has_one(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay, manifests in rendered_overlays.items():
        for name in WORKERS:
            spec, limits = pods(manifests)[name].spec, container(manifests, name)["resources"]["limits"]
            assert limits.get("nvidia.com/gpu") == (None if overlay == "local" else "1")
            assert spec.get("runtimeClassName") == (None if overlay == "local" else "nvidia")
            assert spec.get("nodeSelector", {}) == ({} if overlay == "local" else {"nvidia.com/gpu.present": "true"})
            if overlay != "local":
                assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]


def test_gpu_workers_share_a_cache_of_models_that_their_nodes_can_all_mount(
    rendered_overlays: dict[str, Manifests],
) -> None:
    # The volumes of a small local cluster are of one node.
    expected = {"gpu": ["ReadWriteOnce"], "cluster": ["ReadWriteMany"]}
    for overlay, modes in expected.items():
        manifests = rendered_overlays[overlay]
        assert of_kind(manifests, "PersistentVolumeClaim")["models"]["spec"]["accessModes"] == modes
        for name in WORKERS:
            [models] = [volume for volume in pods(manifests)[name].spec["volumes"] if volume["name"] == "models"]
            assert models == {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}


@pytest.mark.parametrize("replicas", [None, 1, 2, 3])
def test_the_node_of_any_pod_can_be_drained(rendered_overlays: dict[str, Manifests], replicas: int | None) -> None:
    for overlay, manifests in rendered_overlays.items():
        budgets = of_kind(manifests, "PodDisruptionBudget")
        assert set(budgets) == {"api"}
        for budget in budgets.values():
            [pod] = [pod for pod in pods(manifests).values() if selects(budget["spec"]["selector"], pod.labels)]
            count = replicas or of_kind(manifests, "Deployment")[pod.name]["spec"]["replicas"]
            assert disruptions_allowed(budget, count) >= 1, f"{overlay}: a drain would wait for ever"
            assert count == 1 or disruptions_allowed(budget, count) < count


def test_replicas_prefer_different_nodes_and_start_on_one(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        for name in ("api", "judge", *WORKERS):
            pod = pods(manifests)[name]
            [constraint] = pod.spec["topologySpreadConstraints"]
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
            assert constraint["topologyKey"] == "kubernetes.io/hostname"
            alike = [p.name for p in pods(manifests).values() if selects(constraint["labelSelector"], p.labels)]
            assert alike == [name]
