"""Unfair or impossible comparisons are refused with the field and the reason."""

import time
from itertools import product

import pytest
from support.specs import DictLookup, resolved, source, spec
from touchstone_contracts.adaptation import Evaluation
from touchstone_contracts.arms.generation import Generation, Sampler
from touchstone_contracts.arms.mixture import Amount, Count, Mixture, Part, Share
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.perturbation import Perturbation
from touchstone_contracts.arms.prompts import LanguageModel
from touchstone_contracts.arms.retrieval import Retrieval, Semantic, TextMatch, Union
from touchstone_contracts.arms.target_train import TargetTrain
from touchstone_contracts.curation import AllOf, Curation, Filter, KeepAboveClassScore, KeepAboveScore, KeepTopFraction
from touchstone_contracts.problems import Invalid, Unfair
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_planning.fairness import check_fair, exhausted_sizes
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment


def test_every_unknown_name_is_pointed_at_at_once() -> None:
    wrong = spec(upstream="nowhere", targets=("fine", "absent"), arms=(Generation(name="g", generator="no", images=1),))
    with pytest.raises(Invalid) as caught:
        resolve(wrong, DictLookup())
    assert caught.value.code == "unknown_name"
    assert [error.pointer for error in caught.value.errors] == ["/upstream", "/targets/1", "/arms/0/generator"]


def test_a_generator_of_another_upstream_is_unfair() -> None:
    arms = (NoTraining(), Generation(name="g", generator="stranger", images=150))
    with pytest.raises(Unfair, match="upstream") as caught:
        check_fair(resolved(arms=arms, sizes=(1,)))
    assert caught.value.status == 409
    assert caught.value.errors[0].pointer == "/arms/1/generator"
    assert "'elsewhere'" in caught.value.errors[0].detail


@pytest.mark.parametrize(("delta", "refused"), [(0.2, False), (0.201, True), (0.5, True), (1, True)])
def test_a_delta_that_was_meant_in_points_is_refused(delta: float, refused: bool) -> None:
    experiment = resolved(comparison={"a": "retrieved", "b": "synthetic", "delta": delta})
    if not refused:
        check_fair(experiment)
        return
    with pytest.raises(Invalid) as caught:
        check_fair(experiment)
    assert (caught.value.code, caught.value.errors[0].pointer) == ("delta_too_large", "/comparison/delta")
    assert "in accuracy: 0.01 is one point" in caught.value.errors[0].detail


BETTER_HALF = KeepTopFraction(fraction=0.5)


@pytest.mark.parametrize("filter", [BETTER_HALF, AllOf(rules=(KeepAboveScore(), BETTER_HALF))])
@pytest.mark.parametrize(("size", "reachable"), [(3 * 50, True), (3 * 50 + 1, False)])
def test_a_size_beyond_what_the_generator_leaves_is_refused(size: int, reachable: bool, filter: Filter) -> None:
    # 100 images a class, the better half by score: 50 stay.
    experiment = resolved(sizes=(6, size), curation=Curation(filter=filter))
    if reachable:
        check_fair(experiment)
        return
    with pytest.raises(Invalid) as caught:
        check_fair(experiment)
    assert caught.value.errors[0].pointer == "/sizes/1"
    assert "at most 150" in caught.value.errors[0].detail


def test_retrieval_is_bounded_by_queries_and_by_upstream() -> None:
    narrow = Retrieval(name="r", strategy=Semantic(indexes=("image",), results_per_query=4))
    everything = Curation(filter={"kind": "keep_all"})
    with pytest.raises(Invalid, match="larger"):
        check_fair(resolved(arms=(narrow,), sizes=(13,), curation=everything))
    check_fair(resolved(arms=(narrow,), sizes=(12,), curation=everything))
    with pytest.raises(Invalid):  # 100 upstream images cannot give a class more than 100
        check_fair(resolved(arms=(Retrieval(name="r"),), sizes=(301,), curation=everything))


def test_the_cap_bounds_every_arm() -> None:
    with pytest.raises(Invalid):
        check_fair(resolved(sizes=(10,), curation=Curation(per_class_cap=3)))
    check_fair(resolved(sizes=(9,), curation=Curation(per_class_cap=3)))


def with_train(*names: str, **changes: object) -> ResolvedExperiment:
    """As `resolved`, with a training split of 9 images for the targets named."""
    lookup = DictLookup()
    for name in names:
        target = lookup.targets[name]
        splits = target.splits.model_copy(update={"train": source(f"{name}-train", 9)})
        lookup.targets[name] = target.model_copy(update={"splits": splits})
    arms = (NoTraining(), TargetTrain(), Retrieval(name="retrieved"))
    return resolve(spec(**({"arms": arms, "curation": Curation(filter={"kind": "keep_all"})} | changes)), lookup)


def test_a_target_without_a_training_split_is_pointed_at() -> None:
    with pytest.raises(Invalid, match="refers") as caught:
        check_fair(with_train("fine"))
    assert [error.pointer for error in caught.value.errors] == ["/arms/1"]
    assert "'broad'" in caught.value.errors[0].detail


def test_the_training_split_bounds_its_arm() -> None:
    with pytest.raises(Invalid, match="larger") as caught:
        check_fair(with_train("fine", "broad"))
    assert {error.pointer for error in caught.value.errors} == {"/sizes/1"}  # 12 of 9; 6 is reached
    assert "at most 9" in caught.value.errors[0].detail


@pytest.mark.parametrize(
    ("filter", "most"),
    [
        (KeepTopFraction(fraction=0.5), 6),  # of 9 images of 3 classes: 3 and half of 6
        (KeepTopFraction(fraction=0.3), 4),
        (KeepTopFraction(fraction=1), 9),
        (KeepAboveScore(), 9),
        (AllOf(rules=(KeepAboveScore(), KeepTopFraction(fraction=0.5))), 6),
    ],
)
def test_a_size_at_which_the_filter_exhausts_an_arm_is_told(filter: Filter, most: int) -> None:
    def told(size: int) -> list[tuple[str, str]]:
        experiment = with_train("fine", "broad", sizes=(1, size), curation=Curation(filter=filter))
        check_fair(experiment)
        return [(error.pointer, error.detail) for error in exhausted_sizes(experiment)]

    assert told(most) == []
    if most < 9:  # More than all 9 images is refused.
        found = told(most + 1)
        assert [pointer for pointer, _ in found] == ["/sizes/1"] * 2
        assert f"at most {most} images of 'fine'" in found[0][1]
        assert f"exhausted at size {most + 1}" in found[0][1]


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.99, 1])
@pytest.mark.parametrize(("candidates", "classes"), [(0, 3), (2, 3), (9, 3), (10, 2), (7, 1)])
def test_no_way_of_dividing_images_among_classes_leaves_more_than_the_bound(
    candidates: int, classes: int, fraction: float
) -> None:
    rule = KeepTopFraction(fraction=fraction)
    ways = [way for way in product(range(candidates + 1), repeat=classes) if sum(way) == candidates]
    kept = max(sum(rule.most_kept(images) for images in way) for way in ways)
    assert kept <= rule.most_kept_together(candidates, classes) <= candidates
    assert len(ways) >= 1


PROBES = Evaluation(metrics=("zero_shot", "regularised_probe"))


def test_a_regularised_probe_needs_a_training_split_of_every_target() -> None:
    arms = (NoTraining(), Retrieval(name="retrieved"))
    with pytest.raises(Invalid) as caught:
        check_fair(with_train("fine", arms=arms, evaluation=PROBES))
    assert caught.value.code == "target_insufficient"
    assert [error.pointer for error in caught.value.errors] == ["/evaluation/metrics/1"]
    assert "'broad' has no training split" in caught.value.errors[0].detail
    assert "ask for linear_probe" in caught.value.errors[0].detail
    check_fair(with_train("fine", "broad", arms=arms, evaluation=PROBES))
    check_fair(with_train("fine", arms=arms))


def test_learned_prompts_need_words_before_the_name_or_a_number() -> None:
    lookup = DictLookup()
    bare = ("{name}", "{name} as an icon")
    for name, zero_shot in (("broad", bare), ("fine", (*bare, "a {name}"))):
        templates = lookup.targets[name].templates.model_copy(update={"zero_shot": zero_shot})
        lookup.targets[name] = lookup.targets[name].model_copy(update={"templates": templates})
    with pytest.raises(Invalid) as caught:
        check_fair(resolve(spec(recipe=LearnedPrompts()), lookup))
    assert [error.pointer for error in caught.value.errors] == ["/recipe/context_vectors"]
    assert "'broad'" in caught.value.errors[0].detail
    check_fair(resolve(spec(recipe=LearnedPrompts(context_vectors=4)), lookup))
    check_fair(resolved(recipe=LearnedPrompts()))


def mixture(first: Amount, second: Amount, **changes: object) -> Mixture:
    parts = (Part(arm="retrieved", amount=first), Part(arm="synthetic", amount=second))
    return Mixture(name="mixed", parts=parts).model_copy(update=changes)


ARMS = (Retrieval(name="retrieved"), Generation(name="synthetic", generator="diffusion", images=30))
EVERYTHING = Curation(filter={"kind": "keep_all"})


def test_a_mixture_names_other_arms_that_make_images() -> None:
    wrong = Mixture(
        name="mixed",
        parts=(Part(arm="none", amount=Share(share=0.5)), Part(arm="absent", amount=Share(share=0.5))),
    )
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(arms=(NoTraining(), *ARMS, wrong)))
    assert [error.pointer for error in caught.value.errors] == ["/arms/3/parts/0/arm", "/arms/3/parts/1/arm"]


def test_a_mixture_is_bounded_by_its_scarcest_part() -> None:
    half = mixture(Share(share=0.5), Share(share=0.5))
    check_fair(resolved(arms=(*ARMS, half), sizes=(30,), curation=EVERYTHING))
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(arms=(*ARMS, half), sizes=(30, 62), curation=EVERYTHING))
    assert "'synthetic'" in caught.value.errors[0].detail
    added = mixture(Share(share=1.0), Count(images=31), mode="additive")
    with pytest.raises(Invalid, match="larger") as caught:
        check_fair(resolved(arms=(*ARMS, added), sizes=(6,), curation=EVERYTHING))
    assert "'mixed' can leave at most 0" in caught.value.errors[0].detail


def test_counts_that_leave_nothing_for_the_shares_are_refused() -> None:
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(arms=(*ARMS, mixture(Share(share=1.0), Count(images=6))), curation=EVERYTHING))
    assert [error.pointer for error in caught.value.errors] == ["/sizes/0"]
    assert "at least 7" in caught.value.errors[0].detail


def test_queries_and_thresholds_name_classes_that_exist() -> None:
    strategy = Union(text_match=TextMatch(mode="regex", queries={"thing 1": ("a|b",), "thing/9": ("x",), "2": ("(",)}))
    thresholds = KeepAboveClassScore(minimums={"thing 0": 0.1, "7": 0.2})
    rules = Curation(filter=thresholds)
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(arms=(Retrieval(name="r", strategy=strategy),), curation=rules))
    queries = "/arms/0/strategy/text_match/queries"
    assert [error.pointer for error in caught.value.errors] == [
        f"{queries}/thing~19",
        f"{queries}/2/0",
        "/curation/filter/minimums/7",
    ]
    assert "parenthesis" in caught.value.errors[1].detail or "missing )" in caught.value.errors[1].detail
    combined = Curation(filter=AllOf(rules=(KeepTopFraction(), thresholds)))
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(curation=combined))
    assert [error.pointer for error in caught.value.errors] == ["/curation/filter/rules/1/minimums/7"]


def test_scenes_name_classes_that_exist_and_nothing_is_stored_larger_than_sampled() -> None:
    scenes = {"thing 0": ("a barn",), "thing 9": ("a beach",)}
    made = Generation(
        name="made",
        generator="diffusion",
        images=6,
        prompts=LanguageModel(class_backgrounds=scenes),
        image_size=256,
        stored_size=512,
    )
    moved = Perturbation(name="moved", parent="made", gamma=0.5, generator="diffusion", stored_size=513)
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(arms=(made, moved), curation=EVERYTHING))
    assert [error.pointer for error in caught.value.errors] == [
        "/arms/0/stored_size",
        "/arms/0/prompts/class_backgrounds/thing 9",
        "/arms/1/stored_size",
    ]
    assert "sampled at 256 pixels" in caught.value.errors[0].detail


def test_encoders_of_curation_must_be_registered() -> None:
    with pytest.raises(Invalid) as caught:
        resolved(curation=Curation(score_encoder="absent", copy_encoder="clip"))
    assert [error.pointer for error in caught.value.errors] == ["/curation/score_encoder"]


@pytest.mark.parametrize(("batch_size", "pixels", "fits"), [(64, 2048, True), (65, 2048, False), (256, 512, True)])
def test_a_batch_has_no_more_pixels_than_a_generator_has_memory_for(batch_size: int, pixels: int, fits: bool) -> None:
    sampler = Sampler(batch_size=batch_size)
    arm = Generation(name="g", generator="diffusion", images=300, image_size=pixels, sampler=sampler)
    experiment = resolved(arms=(arm,))
    if fits:
        check_fair(experiment)
        return
    with pytest.raises(Invalid) as caught:
        check_fair(experiment)
    [error] = caught.value.errors
    assert error.pointer == "/arms/0/sampler/batch_size"
    assert "at most 64 images of 2048 pixels a side" in error.detail


def test_patterns_that_take_too_long_to_compile_are_refused_before_all_are_tried() -> None:
    slow = tuple(r"\pL" * 300 + str(number) for number in range(1000))
    strategy = Union(text_match=TextMatch(mode="regex", queries={"thing 1": slow}))
    began = time.process_time()
    with pytest.raises(Invalid) as caught:
        check_fair(resolved(arms=(Retrieval(name="r", strategy=strategy), Retrieval(name="s", strategy=strategy))))
    assert time.process_time() - began < 4  # 1 s is allowed; all of them take 300
    [error] = caught.value.errors
    assert error.pointer.startswith("/arms/0/strategy/text_match/queries/thing 1/")
    assert "take more than 1 s to compile" in error.detail
