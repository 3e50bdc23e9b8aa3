"""The same study on two fresh states gives the same training sets and numbers, whoever did the work and when."""

from pathlib import Path
from typing import TYPE_CHECKING

from support.running_stack import fresh_stack, state_of
from support.tiny_world import tiny_study
from touchstone import Client
from touchstone_contracts.steps import ADAPT_ENCODER
from touchstone_contracts.views import ExperimentDetail
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import connect_objects
from touchstone_stack.lifecycle import Stack
from touchstone_stack.state import WORKERS

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld

ONE_TRAINER = {name: module for name, module in WORKERS.items() if name != "trainer-2"}


def stored(stack: Stack) -> Artifacts:
    state = stack.folder.read_state()
    assert state is not None
    return Artifacts(connect_objects(state.object_store()))


def runs(experiment: ExperimentDetail) -> list[str]:
    return [step.id for step in experiment.step_list if step.kind == ADAPT_ENCODER.name]


def trainers(stack: Stack, experiment: ExperimentDetail) -> set[str]:
    manifests = [stored(stack).manifest(step) for step in runs(experiment)]
    return {manifest.worker for manifest in manifests if manifest is not None}


def test_another_number_of_workers_and_another_order_of_work_change_no_training_set_and_no_result(
    world: "TinyWorld", stack: Stack, client: Client, finished_experiment: ExperimentDetail, tmp_path: Path
) -> None:
    with fresh_stack(world, tmp_path / "other", ONE_TRAINER) as other, state_of(other).client() as elsewhere:
        # Here every generated batch lands, is embedded, curated and trained on before anything is retrieved.
        none, _, synthetic = tiny_study()["arms"]
        first, _ = elsewhere.post_document(tiny_study(name="synthetic first", arms=[none, synthetic]))
        early = {step.kind for step in elsewhere.wait(first.id, timeout=300).step_list}
        assert "generate_images" in early
        assert "retrieve_images" not in early
        posted, _ = elsewhere.post_document(tiny_study())
        repeated = elsewhere.wait(posted.id, timeout=300)

        assert len(trainers(stack, finished_experiment)) == 2
        assert len(trainers(other, repeated)) == 1
        here = client.manifest(finished_experiment.id)
        assert len(here.training_sets) == 2 * 2 * 2  # arms, sizes, seeds
        assert elsewhere.manifest(posted.id) == here  # identity, steps, training sets, the digest of the results
