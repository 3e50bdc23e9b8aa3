"""What processes exposed in a run: all that dashboards, alerts and the guide name, and nothing beyond."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.monitoring_files import all_queries, documented_metrics
from support.promql import Exposed
from support.running_stack import asking
from touchstone_contracts.steps import CATALOGUE
from touchstone_contracts.views import ExperimentDetail
from touchstone_stack.lifecycle import Stack

UNBOUNDED = ("exp_", "experiments/exp", "tiny")


@pytest.fixture(scope="module")
def scrapes(stack: Stack, server: str, finished_experiment: ExperimentDetail) -> dict[str, str]:
    """By process, after the tiny study has run to its end."""
    assert finished_experiment.phase == "succeeded"
    state = stack.folder.read_state()
    assert state is not None
    addresses = {"api": server} | {name: f"http://127.0.0.1:{port}" for name, port in state.health_ports.items()}
    return {
        name: httpx.get(f"{address}/metrics", headers=asking(state).headers).text for name, address in addresses.items()
    }


@pytest.fixture(scope="module")
def exposed(scrapes: dict[str, str]) -> Exposed:
    return Exposed.of(scrapes.values())


def total(text: str, sample: str, **labels: str) -> float:
    """The sum over all series of a sample that have these labels."""
    return sum(
        each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == sample and labels.items() <= each.labels.items()
    )


def test_every_metric_that_a_panel_or_an_alert_asks_for_was_exposed(exposed: Exposed) -> None:
    queries = all_queries()
    missing = {query.location: found for query in queries if (found := exposed.missing(query.expression))}
    assert missing == {}
    assert len(queries) > 45


def test_the_guide_lists_every_metric_with_its_type_and_labels(exposed: Exposed) -> None:
    ours = {name: family for name, family in exposed.families.items() if name.startswith("touchstone_")}
    assert {name: (family.kind, frozenset(family.labels)) for name, family in ours.items()} == documented_metrics()
    assert len(ours) > 15


def test_every_computed_step_was_measured_in_every_phase(scrapes: dict[str, str]) -> None:
    exposed = Exposed.of(scrapes.values())
    phases = exposed.values["touchstone_step_phase_seconds_count"]["phase"]
    assert phases == {"queue", "load", "compute", "store"}
    workers = Exposed.of(text for name, text in scrapes.items() if name not in {"api", "conductor"})
    assert workers.values["touchstone_step_phase_seconds_count"]["kind"] == set(CATALOGUE)


def test_labels_hold_no_ids_and_few_values(exposed: Exposed) -> None:
    seen = 0
    for name, labels in exposed.values.items():
        for label, values in labels.items():
            seen += 1
            assert len(values) <= 60, (name, label)
            assert not [value for value in values if value.startswith(UNBOUNDED)], (name, label)
    assert seen > 40


def test_images_and_updates_are_those_of_the_study(scrapes: dict[str, str]) -> None:
    assert total(scrapes["generator"], "touchstone_images_total", kind="generate_images") == 24
    assert total(scrapes["retrieval"], "touchstone_images_total", kind="embed_images") >= 48
    updates = sum(total(scrapes[name], "touchstone_updates_total") for name in ("trainer", "trainer-2"))
    # Two arms, sizes 4 and 8 in batches of 4, two seeds, two epochs; other tests may have trained more.
    assert updates >= 2 * (1 + 2) * 2 * 2


def test_each_worker_loads_a_model_once_and_then_finds_it(scrapes: dict[str, str], exposed: Exposed) -> None:
    caches = exposed.values["touchstone_cache_requests_total"]["cache"]
    assert caches == {
        "encoder", "generator", "decoded_images", "splits", "frozen_features", "class_vectors", "index", "manifest",
    }  # fmt: skip
    for worker, cache in (("retrieval", "encoder"), ("generator", "generator"), ("trainer", "encoder")):
        misses, hits = (
            total(scrapes[worker], "touchstone_cache_requests_total", cache=cache, outcome=outcome)
            for outcome in ("miss", "hit")
        )
        assert misses == 1, (worker, cache)
        # The tiny study draws all its images in one step.
        assert hits > 0 or worker == "generator", (worker, cache)


def test_the_phases_of_a_worker_add_up_to_what_its_steps_took(scrapes: dict[str, str]) -> None:
    for worker in ("retrieval", "generator", "trainer"):
        phases = {
            phase: total(scrapes[worker], "touchstone_step_phase_seconds_sum", phase=phase)
            for phase in ("load", "compute", "store")
        }
        assert min(phases.values()) > 0, worker
        handlers = total(scrapes[worker], "touchstone_step_seconds_sum")
        busy = total(scrapes[worker], "touchstone_busy_seconds_total")
        # The handlers' time is without the manifest; the busy time has failed attempts and a running step too.
        assert handlers - 0.1 <= sum(phases.values()) <= busy + 0.1, worker
