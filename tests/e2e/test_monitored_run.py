"""What processes exposed in a run: all that dashboards, alerts and the guide name, and nothing beyond."""

import httpx
import pytest
from support.monitoring_files import all_queries, documented_metrics
from support.promql import Exposed
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
    return {name: httpx.get(f"{address}/metrics").text for name, address in addresses.items()}


@pytest.fixture(scope="module")
def exposed(scrapes: dict[str, str]) -> Exposed:
    return Exposed.of(scrapes.values())


def test_every_metric_that_a_panel_or_an_alert_asks_for_was_exposed(exposed: Exposed) -> None:
    queries = all_queries()
    missing = {query.place: found for query in queries if (found := exposed.missing(query.expression))}
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


def test_the_run_left_its_marks(exposed: Exposed, scrapes: dict[str, str]) -> None:
    assert 'touchstone_images_total{kind="generate_images"} 24.0' in scrapes["generator"]
    updates = [
        float(line.rsplit(" ", 1)[1])
        for name in ("trainer", "trainer-2")
        for line in scrapes[name].splitlines()
        if line.startswith("touchstone_updates_total")
    ]
    # Two arms, sizes 4 and 8 in batches of 4, two seeds, two epochs.
    assert sum(updates) >= 2 * (1 + 2) * 2 * 2
    assert exposed.values["touchstone_cache_requests_total"]["cache"] == {
        "encoder", "generator", "decoded_images", "splits", "class_vectors", "index",
    }  # fmt: skip
