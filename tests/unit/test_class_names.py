"""Frequent synonyms: how names are counted and chosen, who may ask for them, and what is planned."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from support.specs import DictLookup, spec
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.arms.tuning import CuratedImages, Tuning
from touchstone_contracts.catalogue import Catalogue, ClassLabel
from touchstone_contracts.identity import identity
from touchstone_contracts.problems import Invalid
from touchstone_planning.arms.planner import planner_of
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_retrieval.class_names import count_captions, most_frequent_names, names_of
from touchstone_runtime.words import words_of

ROOT = Path(__file__).parents[2]
CAR = ClassLabel(id=0, display_name="automobile", aliases=("car", "motor car"))
CAPTIONS = ("a red Car, parked", "car-park", "the automobile", "cars", "motor car, car", "MOTOR  CARRIAGE", "")


def in_one(captions: tuple[str, ...]) -> pa.ChunkedArray:
    return pa.chunked_array([captions], pa.string())


def chosen(*labels: ClassLabel, captions: tuple[str, ...] = CAPTIONS) -> list[str]:
    names = [name for label in labels for name in names_of(label)]
    return most_frequent_names(labels, count_captions(names, in_one(captions)))


def test_a_caption_counts_once_for_each_name_whose_whole_words_it_holds_in_order() -> None:
    counts = count_captions(names_of(CAR), in_one(CAPTIONS))
    assert {name: counts[words_of(name)] for name in names_of(CAR)} == {"automobile": 1, "car": 3, "motor car": 1}
    ivory_coast = in_one(("cote d'ivoire", "CÔTE D IVOIRE"))
    assert count_captions(["Côte d'Ivoire", "!!"], ivory_coast) == {("côte", "d", "ivoire"): 1}


def test_the_most_frequent_name_is_chosen_and_of_equals_the_registered_one() -> None:
    assert chosen(CAR) == ["car"]
    assert chosen(CAR, captions=("automobile", "car")) == ["automobile"]
    assert chosen(CAR, captions=()) == ["automobile"]
    assert chosen(ClassLabel(id=0, display_name="lone")) == ["lone"]


def test_a_name_that_another_class_has_is_not_taken() -> None:
    taxi = ClassLabel(id=1, display_name="taxi", aliases=("Car",))
    assert chosen(CAR, taxi) == ["automobile", "taxi"]


def test_a_part_of_the_registered_name_is_not_taken_and_its_words_in_another_order_are() -> None:
    captions = ("a car", "a car", "car sports", "car sports")
    assert chosen(ClassLabel(id=0, display_name="sports car", aliases=("car",)), captions=captions) == ["sports car"]
    assert chosen(ClassLabel(id=0, display_name="sports car", aliases=("car sports",)), captions=captions) == [
        "car sports"
    ]


def test_a_class_asked_for_as_another_name_keeps_every_name_and_its_own_stays_the_key() -> None:
    label = CAR.asked_for_as("car")
    assert (label.query, label.prompt_name, label.display_name) == ("car", "car", "automobile")
    assert label.aliases == ("automobile", "motor car")
    own = CAR.model_copy(update={"retrieval_query": "old automobile"})
    assert own.asked_for_as("automobile") == own


def test_the_miniverses_captions_call_nineteen_of_139_classes_by_another_name() -> None:
    import pyarrow.parquet as pq

    shards = sorted((ROOT / "miniverse" / "data").glob("upstream-*.parquet"))
    captions = [text for path in shards for text in pq.read_table(path, columns=["caption"])["caption"].to_pylist()]
    document = yaml.safe_load((ROOT / "studies" / "frequent-synonyms" / "catalogue.yaml").read_text())
    renamed: dict[str, str] = {}
    for target in Catalogue.model_validate(document).targets:
        names = chosen(*target.classes, captions=tuple(captions))
        own = [label.display_name for label in target.classes]
        renamed |= {called: name for called, name in zip(own, names, strict=True) if called != name}
    assert len(renamed) == 19
    assert (renamed["automobile"], renamed["tangerine"], renamed["bullet train"]) == ("car", "orange", "shinkansen")
    assert "eggplant" not in renamed


def experiment(*arms: Any, aliases: bool = True, **changes: Any) -> ResolvedExperiment:
    lookup = DictLookup()
    fine = lookup.targets["fine"]
    if aliases:
        classes = (fine.classes[0].model_copy(update={"aliases": ("item",)}), *fine.classes[1:])
        lookup.targets["fine"] = fine.model_copy(update={"classes": classes})
    fields = {"arms": arms, "sizes": (6,), "seeds": (0,), "targets": ("fine",)}
    return resolve(spec(**(fields | changes)), lookup)


REAL = Retrieval(name="real", names="most_frequent")
FAKE = Generation(name="fake", generator="diffusion", images=300, names="most_frequent")


def test_names_are_counted_once_and_reach_exactly_what_asked_for_them() -> None:
    tuned = FAKE.model_copy(update={"name": "tuned", "tune": Tuning(images=CuratedImages(arm="real"))})
    plain = Retrieval(name="plain")
    resolved = experiment(NoTraining(), REAL, plain, FAKE, tuned)
    check_fair(resolved)
    plan = plan_experiment(resolved)
    (names,) = (step for step in plan.steps if step.kind == "name_classes")
    asking = {step.role for step in plan.steps if names.id in step.inputs}
    assert asking == {"fine/real/retrieve", "fine/fake/prompts", "fine/tuned/tune"}
    assert {role for step in plan.steps if (role := step.role).startswith("world/") and step.id in names.inputs} == {
        "world/0/ingest", "world/1/ingest",
    }  # fmt: skip
    assert planner_of(REAL).describe(REAL).endswith("class texts, classes called by their most frequent name")


def test_the_zero_shot_head_is_of_the_untouched_encoder_and_of_every_run() -> None:
    plan = plan_experiment(experiment(NoTraining(), Retrieval(name="real"), zero_shot_names="most_frequent"))
    (names,) = (step for step in plan.steps if step.kind == "name_classes")
    asking = [step.kind for step in plan.steps if names.id in step.inputs]
    assert sorted(asking) == ["adapt_encoder", "evaluate_encoder", "evaluate_encoder"]


def test_classes_as_they_are_called_are_planned_and_written_as_before() -> None:
    said = experiment(REAL.model_copy(update={"names": "given"}), zero_shot_names="given")
    unsaid = experiment(Retrieval(name="real"))
    assert identity(said) == identity(unsaid)
    assert [step.id for step in plan_experiment(said).steps] == [step.id for step in plan_experiment(unsaid).steps]
    assert not [step.role for step in plan_experiment(unsaid).steps if "names" in step.stored]


@pytest.mark.parametrize(
    ("arms", "changes", "pointer"),
    [
        ((NoTraining(), REAL), {}, "/arms/1/names"),
        ((FAKE,), {}, "/arms/0/names"),
        ((Retrieval(name="real"),), {"zero_shot_names": "most_frequent"}, "/zero_shot_names"),
    ],
)
def test_without_synonyms_there_is_nothing_to_choose(
    arms: tuple[Any, ...], changes: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as refused:
        check_fair(experiment(*arms, aliases=False, **changes))
    (error,) = refused.value.errors
    assert (error.pointer, "no class of target 'fine' has an alias" in error.detail) == (pointer, True)
