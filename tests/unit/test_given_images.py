"""Data sets that somebody brings: registered, named by an arm, ingested for the target they belong to."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.memory_services import api_client, memory_services, register_everything
from support.specs import DictLookup, resolved, spec
from touchstone_api.results.accounts import sources_of_experiment
from touchstone_contracts.arms.given import Given
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import ClassFolders
from touchstone_contracts.identity import identity, identity_text, sha256
from touchstone_contracts.problems import Invalid
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.dag import ingest_steps
from touchstone_planning.estimate import workload
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment

BOTH = Given(name="by-hand", datasets=("fine-by-hand", "broad-by-hand"))
KEEP_ALL = {"filter": {"kind": "keep_all"}}


def experiment(arm: Given = BOTH, lookup: DictLookup | None = None, **changes: Any) -> ResolvedExperiment:
    fields = {"arms": (Retrieval(name="real"), arm), "sizes": (6,), "curation": KEEP_ALL}
    return resolve(spec(**(fields | changes)), lookup or DictLookup())


def test_each_target_gets_the_data_sets_that_are_its_own_curated_as_every_arm() -> None:
    found = experiment()
    check_fair(found)
    plan = plan_experiment(found)
    roles = {step.id: step.role for step in plan.steps}
    for target in ("fine", "broad"):
        (curation,) = (step for step in plan.steps if step.id == plan.curations[target, "by-hand"])
        assert f"{target}/by-hand/{target}-by-hand/ingest" in {roles[step] for step in curation.inputs}
        assert curation.request.rules == found.spec.curation  # type: ignore[attr-defined]
    assert planner_of(BOTH).describe(BOTH) == "labelled images of fine-by-hand, broad-by-hand, before curation"


def test_accounts_find_every_ingest_that_an_experiment_plans() -> None:
    found = experiment()
    planned = {step.id: step.stored.get("classes") for step in plan_experiment(found).steps if "ingest" in step.role}
    asked = sources_of_experiment(found)
    for sources in asked:
        for file in sources.files:
            step = ingest_steps(file, sources.most_losses, sources.classes)[0]
            assert planned.pop(step) == (None if sources.kind == "upstream" else 3)
    assert planned == {}
    assert [sources.kind for sources in asked].count("dataset") == 2


def test_their_images_are_part_of_the_estimate() -> None:
    found = experiment(sizes=(9,), targets=("fine",))
    plan = plan_experiment(found)
    with_given, plain = workload(found, plan), experiment(Given(name="by-hand", datasets=("fine-by-hand",)))
    assert with_given.images_ingested == 9 + 10 + 10 + 100  # data set, validation, test, upstream
    assert planner_of(BOTH).most_images(BOTH, found.targets[0], found) == 9
    assert plain.datasets[0].images.images == 9


@pytest.mark.parametrize(
    ("arm", "pointer", "reason"),
    [
        (
            Given(name="g", datasets=("fine-by-hand",)),
            "/arms/1/datasets",
            "none of these data sets is of target 'broad'",
        ),
        (Given(name="g", datasets=("fine-by-hand", "x")), "/arms/1/datasets/1", "no dataset named 'x' is registered"),
    ],
)
def test_what_is_not_there_is_refused_with_its_pointer(arm: Given, pointer: str, reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_fair(experiment(arm))
    assert [(error.pointer, error.detail) for error in refused.value.errors] == [(pointer, reason)]


def test_folders_that_are_not_one_a_class_are_refused() -> None:
    lookup = DictLookup()
    folders = ClassFolders(location="library:x", digest=sha256(b"x"), images=9, folders=("a", "b"))
    lookup.datasets["fine-by-hand"] = lookup.datasets["fine-by-hand"].model_copy(update={"images": folders})
    with pytest.raises(Invalid) as refused:
        check_fair(experiment(lookup=lookup))
    (error,) = refused.value.errors
    assert (error.pointer, error.detail) == ("/arms/1/datasets/0", "'fine-by-hand' has 2 folders, 'fine' 3 classes")


def test_more_images_than_were_given_cannot_be_asked_for() -> None:
    with pytest.raises(Invalid, match="larger than what can be had"):
        check_fair(experiment(sizes=(10,)))


def test_a_data_set_is_named_once() -> None:
    with pytest.raises(ValidationError, match="must not repeat"):
        Given(name="g", datasets=("a", "a"))
    with pytest.raises(ValidationError, match="datasets"):
        Given(name="g", datasets=())


def test_an_experiment_without_data_sets_is_named_as_before() -> None:
    plain = resolved()
    assert "datasets" not in identity_text(plain)
    assert identity(plain) == identity(ResolvedExperiment.model_validate(plain.model_dump(mode="json")))
    assert identity(experiment()) != identity(experiment(lookup=_other_images()))


def _other_images() -> DictLookup:
    lookup = DictLookup()
    dataset = lookup.datasets["fine-by-hand"]
    images = dataset.images.model_copy(update={"digest": sha256(b"other")})
    lookup.datasets["fine-by-hand"] = dataset.model_copy(update={"images": images})
    return lookup


def test_data_sets_are_registered_listed_and_used_over_the_interface(tmp_path: Path) -> None:
    with api_client(memory_services(tmp_path)) as client:
        register_everything(client)
        listed = client.get("/v1/datasets").json()["items"]
        assert [entry["name"] for entry in listed] == ["broad-by-hand", "fine-by-hand"]
        assert client.get("/v1/datasets/fine-by-hand").json() == listed[1]
        assert client.post("/v1/datasets", json=listed[1]).status_code == 200
        changed = client.post("/v1/datasets", json=listed[1] | {"target": "broad"})
        assert (changed.status_code, changed.json()["code"]) == (409, "name_taken")
        assert client.get("/v1/datasets/nothing").status_code == 404
        document = experiment().spec.model_dump(mode="json")
        posted = client.post("/v1/experiments", json=document)
        assert posted.status_code == 201
        unknown = document | {"arms": [document["arms"][0], document["arms"][1] | {"datasets": ["nothing"]}]}
        refused = client.post("/v1/experiments", json=unknown).json()
        assert (refused["code"], refused["errors"][0]["pointer"]) == ("unknown_name", "/arms/1/datasets/0")
