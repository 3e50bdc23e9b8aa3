"""How long an experiment would take: from finished steps, on the workers that live, and honest about the rest."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text as sql
from sqlalchemy import update
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import finish_steps
from support.pages import of_another_project
from support.specs import resolved, spec
from touchstone_api.bootstrap import Services
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.views import TimeEstimate
from touchstone_planning.amounts import SIZED_KINDS, amount_of
from touchstone_planning.estimate import planned_images
from touchstone_planning.plan import plan_experiment
from touchstone_planning.step_times import NEAREST, MeasuredStep, StepTimes, duration_words, estimate_time
from touchstone_planning.throughput import SLOWEST
from touchstone_store.live_workers import KNOWN_FOR, live_workers, note_live_workers
from touchstone_store.measured import LATEST, measured_steps
from touchstone_store.tables import StepRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEXT = spec(name="planned after it", sizes=(5, 11), seeds=(5, 6, 7))
PERTURBING = {
    "kind": "perturbation", "name": "changed", "parent": "retrieved", "gamma": 0.5, "generator": "diffusion"
}  # fmt: skip


def estimated(seconds: float = 60, workers: dict[str, int] | None = None, kinds: set[str] | None = None) -> Any:
    """Of the small experiment, where every step of `kinds`, or of all, has taken `seconds`. With its plan."""
    experiment = resolved()
    plan = plan_experiment(experiment)
    planned = {step.kind for step in plan.steps} if kinds is None else kinds
    times = StepTimes([MeasuredStep(kind, None, seconds) for kind in sorted(planned)], SLOWEST)
    return plan, estimate_time(plan, (), planned_images(experiment, plan), times, workers)


def test_more_workers_of_the_slowest_queue_take_less_time_and_never_less_than_a_chain_of_steps() -> None:
    plan, alone = estimated(workers={"trainer": 1, "retrieval": 1, "generator": 1, "judge": 1})
    [trainer] = [queue for queue in alone.queues if queue.queue == "trainer"]
    assert trainer.elapsed_seconds == max(queue.elapsed_seconds for queue in alone.queues)
    assert trainer.seconds == 60 * trainer.steps
    _, helped = estimated(workers={"trainer": 3, "retrieval": 1, "generator": 1, "judge": 1})
    _, crowded = estimated(workers=dict.fromkeys(("trainer", "retrieval", "generator", "judge"), 10_000))
    assert alone.minutes > helped.minutes > crowded.minutes
    depth: dict[str, int] = {}
    for step in plan.steps:
        depth[step.id] = 1 + max((depth[each] for each in step.inputs), default=0)
    assert max(depth.values()) >= 6
    assert crowded.minutes >= max(depth.values())
    assert sum(queue.steps for queue in alone.queues) == len(plan.steps)


def test_what_is_done_already_takes_no_time() -> None:
    plan, whole = estimated()
    experiment = resolved()
    times = StepTimes([MeasuredStep(kind, None, 60) for kind in whole.measured], SLOWEST)
    ingests = [step.id for step in plan.steps if step.kind == "ingest_images"]
    rest = estimate_time(plan, ingests, planned_images(experiment, plan), times, None)
    assert len(ingests) >= 4
    assert sum(queue.seconds for queue in rest.queues) == 60 * (len(plan.steps) - len(ingests))
    none = estimate_time(plan, [step.id for step in plan.steps], {}, times, None)
    assert (none.minutes, none.queues, none.summary) == (
        0.0, (), "Every step is done already: the experiment takes no time."
    )  # fmt: skip


def test_a_queue_without_workers_counts_one_and_says_so() -> None:
    _, unknown = estimated()
    assert {queue.workers for queue in unknown.queues} == {None}
    assert "how many run is not known" in unknown.summary
    _, missing = estimated(workers={"trainer": 2, "retrieval": 1, "generator": 0})
    assert "once a worker runs for generator and judge" in missing.summary
    assert "2 trainer" in missing.summary
    assert {queue.queue: queue.elapsed_seconds for queue in missing.queues}["generator"] == pytest.approx(
        {queue.queue: queue.seconds for queue in missing.queues}["generator"]
    )


def test_where_nothing_was_measured_the_speeds_are_assumed_and_the_answer_says_so() -> None:
    plan, assumed = estimated(kinds=set())
    assert assumed.measured == ()
    assert set(assumed.assumed) == {step.kind for step in plan.steps}
    assert "from assumed speeds: nothing was measured here yet" in assumed.summary
    assert assumed.minutes > 0
    _, mixed = estimated(kinds={"ingest_images"})
    assert mixed.measured == ("ingest_images",)
    assert "for kinds of steps that have not run here, assumed speeds" in mixed.summary


def test_perturbations_cost_by_assumed_speeds_what_their_share_of_the_steps_costs() -> None:
    experiment = resolved(arms=(*spec().arms, PERTURBING))
    plan, times = plan_experiment(experiment), StepTimes([], SLOWEST)
    images = planned_images(experiment, plan)
    perturbations = [step for step in plan.steps if step.kind == "perturb_images"]
    assert len(perturbations) >= 2
    for step in perturbations:
        amount = amount_of(step.kind, step.stored, images, images[step.id])
        seconds = times.seconds(step.kind, amount)
        assert seconds == pytest.approx(images[step.id] * 25 / SLOWEST.denoising_steps)


@given(st.lists(st.floats(0.1, 1e4), min_size=1, max_size=LATEST), st.floats(1, 1e6))
def test_one_step_that_was_held_up_decides_nothing(seconds: list[float], held_up: float) -> None:
    measured = [MeasuredStep("adapt_encoder", 100, each) for each in seconds]
    times = StepTimes(measured, SLOWEST)
    assert min(seconds) <= times.seconds("adapt_encoder", 100) * (1 + 1e-9)
    assert times.seconds("adapt_encoder", 100) <= max(seconds) * (1 + 1e-9)
    usual = [MeasuredStep("adapt_encoder", 100, 5.0)] * 4
    assert StepTimes([*usual, MeasuredStep("adapt_encoder", 100, 5 * held_up)], SLOWEST).seconds(
        "adapt_encoder", 100
    ) == pytest.approx(5.0)


def test_durations_scale_with_the_amount_and_steps_of_like_size_decide() -> None:
    # Ten seconds to start, and one second for ten images.
    small = [MeasuredStep("adapt_encoder", 10, 11.0)] * (NEAREST + 1)
    large = [MeasuredStep("adapt_encoder", 10_000, 1010.0)] * NEAREST
    times = StepTimes([*small, *large], SLOWEST)
    assert times.seconds("adapt_encoder", 10) == pytest.approx(11.0)
    assert times.seconds("adapt_encoder", 20_000) == pytest.approx(2020.0)
    assert times.seconds("adapt_encoder", None) == pytest.approx(11.0)


def test_every_step_of_a_kind_with_an_amount_has_one_in_the_plan() -> None:
    experiment = resolved(arms=(*spec().arms, PERTURBING))
    plan = plan_experiment(experiment)
    images = planned_images(experiment, plan)
    sized = [step for step in plan.steps if step.kind in SIZED_KINDS]
    assert Counter(step.kind for step in sized).keys() == set(SIZED_KINDS) - {"tune_generator"}
    for step in sized:
        amount = amount_of(step.kind, step.stored, images)
        assert amount, step.role


def test_steps_that_finished_here_say_how_long_the_next_experiment_takes(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    before = time_of(api)
    assert before.measured == ()
    finish_experiment(services, told)
    with services.store.write() as session:
        session.execute(update(StepRow).values(seconds=30.0))
        note_live_workers(session, {"retrieval": 1, "generator": 1, "trainer": 2, "judge": 1}, datetime.now(UTC))
    time = time_of(api)
    assert time.assumed == ()
    assert {queue.queue: queue.workers for queue in time.queues}["trainer"] == 2
    assert time.minutes > 1
    assert "on the workers that run now" in time.summary


def time_of(api: TestClient, planned: ExperimentSpec = NEXT) -> TimeEstimate:
    answer = api.post("/v1/experiments/estimate", json=planned.model_dump(mode="json"))
    assert answer.status_code == 200, answer.text
    return TimeEstimate.model_validate(answer.json()["time"])


def test_an_estimate_says_nothing_of_other_projects_but_durations(services: Services) -> None:
    told = post_experiment(services)
    finish_steps(services, told.id)
    answer = of_another_project(services).post("/v1/experiments/estimate", json=NEXT.model_dump(mode="json"))
    # The names of the spec are not registered in that project: an estimate does not go past that.
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_name")
    names = set(TimeEstimate.model_fields)
    assert names == {"minutes", "queues", "measured", "assumed", "summary"}


def test_the_latest_steps_of_a_kind_are_read_with_their_amounts(services: Services) -> None:
    told = post_experiment(services)
    finish_steps(services, told.id)
    kinds = {step.kind for step in told.plan.steps}
    with services.store.read() as session:
        found = measured_steps(session, kinds)
    counts = Counter(step.kind for step in found)
    assert counts.keys() == kinds
    assert max(counts.values()) <= LATEST
    adapted = [step for step in found if step.kind == "adapt_encoder"]
    assert len(adapted) >= 12
    assert all(step.amount and step.seconds == 1.0 for step in adapted)
    assert all(step.amount is None for step in found if step.kind == "curate_images")
    assert any(step.amount for step in found if step.kind == "evaluate_encoder")


def test_a_request_that_cannot_be_read_has_no_amount_and_its_duration_still_counts(services: Services) -> None:
    told = post_experiment(services)
    finish_steps(services, told.id)
    adaptations = [step.id for step in told.plan.steps if step.kind == "adapt_encoder"]
    for step, text in zip(adaptations[:4], ("{", "[]", "{}", '{"size": 4, "recipe": null}'), strict=True):
        with services.store.write() as session:
            session.execute(sql("UPDATE steps SET request = :text WHERE id = :step"), {"text": text, "step": step})
    with services.store.read() as session:
        found = measured_steps(session, ["adapt_encoder"])
    assert len(found) == len(adaptations) >= 12
    assert sum(step.amount is None for step in found) == 4


def test_an_old_count_of_workers_is_not_believed(services: Services) -> None:
    with services.store.write() as session:
        assert live_workers(session, NOW) is None
        note_live_workers(session, {"trainer": 1, "judge": 0}, NOW - timedelta(hours=1))
        note_live_workers(session, {"trainer": 3, "judge": 0}, NOW)
    with services.store.read() as session:
        assert live_workers(session, NOW + KNOWN_FOR / 2) == {"trainer": 3, "judge": 0}
        assert live_workers(session, NOW + KNOWN_FOR) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "Less than a minute"), (59, "Less than a minute"), (60, "About 1 minute"), (601, "About 10 minutes"),
        (7200, "About 2 hours"), (3600 * 4.5, "About 4.5 hours"), (3600 * 250, "About 250 hours"),
    ],
)  # fmt: skip
def test_durations_are_told_in_the_unit_that_people_use(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
