"""Every setting of a process can be set where it is deployed: in .env for compose, in a ConfigMap for a cluster. What
cannot be has a reason here."""

import pytest
from support.deployment import PROCESSES, compose_services, image_of
from support.manifests import Manifests, container
from support.processes import variables

REASONS = {
    "compose brings the object store, without TLS and with keys, on a network of its own": {
        "S3_REGION", "S3_SECURE", "S3_CREDENTIALS", "CA_FILE",
    },
    "containers log lines of JSON": {"LOG_FORMAT"},
    "follows OTEL_EXPORTER_OTLP_ENDPOINT": {"TRACES"},
    "the gateway, the conductor and the judge read no library": {"LIBRARY"},
    "the host name of a container tells workers apart": {"WORKER_NAME"},
    "the profile chooses": {"DEVICE"},
    "Compose starts no worker again that found no work": {"EXIT_WHEN_IDLE_SECONDS"},
    "times that fit each other": {
        "HEARTBEAT_SECONDS", "SAVEPOINT_SECONDS", "STALL_SECONDS", "LEASE_SECONDS", "LEASES_PER_WORKER", "MAX_FAILURES",
        "RETRY_SECONDS", "CYCLE_SECONDS", "POLL_SECONDS", "EVENT_POLL_SECONDS", "QDRANT_TIMEOUT",
        "SEARCH_PATIENCE_SECONDS",
    },
    "sized for the memory and the CPU that the container has": {
        "MAX_BODY_BYTES", "PLANS_AT_ONCE", "MOST_EVENT_STREAMS",
    },
    "a container sees everybody come from its network": {"OPEN_ON_THIS_MACHINE"},
    "the one api of compose migrates when it starts": {"MIGRATE_ON_START"},
    "the judge loads no model and computes on one thread": {"MODELS_MEGABYTES", "THREADS"},
    "a compiler for C is needed, and the images hold none": {"TORCH_COMPILE"},
}  # fmt: skip
"""Reason -> settings that compose does not pass on to some process."""
EXCEPTED = {f"TOUCHSTONE_{name}" for names in REASONS.values() for name in names}


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_passes_every_setting_on_or_there_is_a_reason(profile: str) -> None:
    services, left_out, passed = compose_services(profile), set[str](), 0
    for process in PROCESSES:
        service = services.get(f"{process}-gpu") or services[process]
        image = image_of(service["image"])
        assert image is not None
        missing = variables(process) - set(service["environment"]) - set(image.environment())
        assert missing <= EXCEPTED, f"{process} does not get {sorted(missing - EXCEPTED)}: pass it on, or say why not"
        left_out |= missing
        passed += len(variables(process) - missing)
    assert left_out == EXCEPTED, f"passed on after all: {sorted(EXCEPTED - left_out)}"
    assert passed >= 100


def test_each_process_of_a_cluster_has_a_config_map_for_its_own_settings(
    rendered_overlays: dict[str, Manifests],
) -> None:
    for manifests in rendered_overlays.values():
        named = {process: config_maps(container(manifests, process)) for process in PROCESSES}
        assert all("settings" in maps for maps in named.values())
        for process in set(PROCESSES) - {"judge"}:
            assert f"{process}-settings" in named[process]
            assert all(f"{process}-settings" not in named[other] for other in PROCESSES if other != process)


def config_maps(container: dict[str, object]) -> set[str]:
    """That its environment comes from, without the hash of what they hold."""
    entries = container["envFrom"]
    assert isinstance(entries, list)
    names = [entry["configMapRef"]["name"] for entry in entries if "configMapRef" in entry]
    return {name if name.endswith("settings") else name.rpartition("-")[0] for name in names}
