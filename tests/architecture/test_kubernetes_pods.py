"""Every pod is restricted, probed and bounded, and starts with images and settings that are there."""

from support.deployment import IMAGES, PROCESSES, WORKERS, compose_services, image_of
from support.manifests import (
    Manifest,
    Manifests,
    container,
    containers,
    image_name,
    keys_of_sources,
    pods,
    sources,
)
from support.processes import SETTINGS, variables

PODS = {"local": 12, "gpu": 12, "cluster": 10}
CONTAINERS = {"local": 14, "gpu": 14, "cluster": 12}
NOT_IN_KUBERNETES = {"grafana"}
"""Services of compose for which a cluster has its own."""


def test_every_pod_is_seen(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay, manifests in rendered_overlays.items():
        assert len(pods(manifests)) == PODS[overlay]
        assert len(list(containers(manifests))) == CONTAINERS[overlay]


def test_every_pod_runs_unprivileged_on_a_read_only_root(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        for pod, each in containers(manifests):
            assert pod.spec["automountServiceAccountToken"] is False, pod.name
            assert pod.spec["enableServiceLinks"] is False, pod.name
            assert pod.spec["securityContext"]["runAsNonRoot"] is True, pod.name
            assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, pod.name
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, pod.name
            assert each["resources"]["requests"], pod.name
            assert each["resources"]["limits"]["memory"], pod.name


def test_no_pod_asks_a_registry_for_an_image_that_was_loaded(rendered_overlays: dict[str, Manifests]) -> None:
    """Without a policy, a container whose tag is `latest` pulls; an image loaded by hand is in no registry."""
    for manifests in rendered_overlays.values():
        for pod, each in containers(manifests):
            assert each["imagePullPolicy"] == "IfNotPresent", (pod.name, each["name"])


def test_every_image_has_a_tag_and_ours_are_built(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay, manifests in rendered_overlays.items():
        suffix = "" if overlay == "local" else "-cuda"
        ours = {image_name(each) for _, each in containers(manifests)} & set(IMAGES)
        workers = {f"touchstone-{name}{suffix}" for name in WORKERS}
        assert ours == {*(f"touchstone-{name}" for name in ("api", "client", "conductor", "judge")), *workers}
        for _, each in containers(manifests):
            assert ":" in each["image"].rsplit("/", 1)[-1], each["image"]


def test_every_long_running_process_is_probed(rendered_overlays: dict[str, Manifests]) -> None:
    seen = 0
    for manifests in rendered_overlays.values():
        for pod in pods(manifests).values():
            if pod.kind in {"Deployment", "StatefulSet", "ScaledJob"}:
                assert "livenessProbe" in pod.spec["containers"][0], pod.name
                seen += 1
    assert seen == 28


def test_the_api_gets_requests_once_its_servers_and_its_schema_are_there(
    rendered_overlays: dict[str, Manifests],
) -> None:
    for manifests in rendered_overlays.values():
        api = container(manifests, "api")
        assert api["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
        assert {"name": "TOUCHSTONE_MIGRATE_ON_START", "value": "false"} in api["env"]
        migrate = container(manifests, "migrate")
        assert migrate in pods(manifests)["api"].spec["initContainers"]
        assert migrate["command"] == ["python", "-m", "touchstone_store.migrate"]
        assert migrate["image"] == api["image"]


def test_every_reference_to_a_secret_or_setting_is_answered(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay, manifests in rendered_overlays.items():
        data = keys_of_sources(manifests)
        asked = [(pod.name, *source) for pod, each in containers(manifests) for source in sources(each)]
        assert len(asked) >= 20, overlay
        for name, source, key in asked:
            assert source in data, (overlay, name, source)
            assert key is None or key in data[source], (overlay, name, source, key)
        assert set(data) - {source for _, source, _ in asked} == not_of_containers(manifests)


def not_of_containers(manifests: Manifests) -> set[str]:
    """What is read as a file, or by others."""
    config_maps = {m["metadata"]["name"] for m in manifests if m["kind"] == "ConfigMap"}
    volumes = [volume for pod in pods(manifests).values() for volume in pod.spec["volumes"]]
    mounted = {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}
    by_others = {name for name in config_maps if name.startswith("grafana")}
    return {f"ConfigMap/{name}" for name in mounted | by_others}


def test_every_claim_is_declared(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay, manifests in rendered_overlays.items():
        declared = {m["metadata"]["name"] for m in manifests if m["kind"] == "PersistentVolumeClaim"}
        claimed = {
            volume["persistentVolumeClaim"]["claimName"]
            for pod in pods(manifests).values()
            for volume in pod.spec.get("volumes", [])
            if "persistentVolumeClaim" in volume
        }
        assert declared == claimed, overlay
        assert "library" in declared


def environment(container: Manifest, manifests: Manifests) -> set[str]:
    """Names of all variables of a container, its image's included."""
    image = image_of(container["image"])
    data = keys_of_sources(manifests)
    of_sources = [data[source] for source, key in sources(container) if key is None]
    return {each["name"] for each in container.get("env", [])}.union(image.environment() if image else {}, *of_sources)


def test_every_variable_of_ours_is_read_by_the_process_that_gets_it(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        for process in SETTINGS:
            variables_here = environment(container(manifests, process), manifests)
            given = {name for name in variables_here if name.startswith("TOUCHSTONE_")}
            assert given <= variables(process), process
            assert given


def test_processes_get_the_same_variables_as_in_compose(rendered_overlays: dict[str, Manifests]) -> None:
    """A setting that compose passes on and Kubernetes forgets would be found at night."""
    manifests, services = rendered_overlays["local"], compose_services("cpu")
    for process in PROCESSES:
        # Nobody's default: compose takes them from .env, an overlay says them in a ConfigMap of the process (a client's
        # secret of OpenID Connect in `operator`).
        by_choice = {name for name, value in services[process]["environment"].items() if value is None}
        by_choice |= {"TOUCHSTONE_MIGRATE_ON_START"}
        here = container(manifests, process)
        image = image_of(here["image"])
        assert image is not None
        in_cluster = environment(here, manifests) - set(image.environment())
        in_compose = set(services[process]["environment"]) - set(image.environment())
        assert in_cluster ^ in_compose <= by_choice, process


def test_images_and_commands_are_those_of_compose(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay, profile in (("local", "cpu"), ("gpu", "gpu")):
        services = {name.removesuffix("-gpu"): each for name, each in compose_services(profile).items()}
        manifests = rendered_overlays[overlay]
        names = {each["name"] for _, each in containers(manifests)}
        assert names == set(services) - NOT_IN_KUBERNETES | {"migrate"}
        for name in names - {"migrate"}:
            image = container(manifests, name)["image"]
            assert image.removesuffix("-unprivileged") == services[name]["image"], name
        for name in PROCESSES:
            assert container(manifests, name).get("command") == services[name].get("command"), name


def test_a_worker_has_room_on_disk_and_never_in_memory(rendered_overlays: dict[str, Manifests]) -> None:
    for overlay, manifests in rendered_overlays.items():
        for name in WORKERS:
            pod, worker = pods(manifests)[name], container(manifests, name)
            volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in worker["volumeMounts"]}
            image = image_of(worker["image"])
            assert image is not None
            assert set(mounts) == {"/tmp", "/cache", "/library", image.environment()["TMPDIR"]}
            assert mounts["/library"]["persistentVolumeClaim"]["readOnly"] is True
            on_disk = [volume["emptyDir"] for volume in volumes.values() if "emptyDir" in volume]
            assert all("medium" not in each for each in on_disk)
            # What fits into its volumes fits into its limit: the kubelet evicts a pod that exceeds either.
            room = sum(gibibytes(each["sizeLimit"]) for each in on_disk)
            assert room <= gibibytes(worker["resources"]["limits"]["ephemeral-storage"]), (overlay, name)
            assert worker["resources"]["requests"]["ephemeral-storage"]


def gibibytes(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity.removesuffix("Gi"))


def test_workers_compute_on_a_fixed_number_of_threads(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        [settings] = [m["data"] for m in manifests if m["metadata"]["name"].startswith("worker-settings")]
        assert settings["TOUCHSTONE_THREADS"] == settings["OMP_NUM_THREADS"] == "2"


def test_a_worker_finishes_its_step_before_it_is_stopped(rendered_overlays: dict[str, Manifests]) -> None:
    for manifests in rendered_overlays.values():
        assert {pods(manifests)[name].spec["terminationGracePeriodSeconds"] for name in WORKERS} == {600}
