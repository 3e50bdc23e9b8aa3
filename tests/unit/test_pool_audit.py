"""What a label card says of a pool that can be counted by hand, and which judge a spec may name."""

from typing import Any

import numpy as np
import pytest
from support.audits import CLASSES, audited, unit
from support.specs import DictLookup, resolved, spec
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.mixture import Count, Mixing, Mixture, Part, Share
from touchstone_contracts.arms.retrieval import Retrieval
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import Curation
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import sha256
from touchstone_contracts.label_card import ClassBalance, JudgeAgreement, LabelCard
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import AuditPool, JudgeExperiment
from touchstone_judge.labels import label_warnings
from touchstone_planning.fairness import check_fair
from touchstone_planning.plan import plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_retrieval.audit.audited import Judge
from touchstone_retrieval.audit.balance import in_turn
from touchstone_retrieval.audit.captions import class_names, classes_named
from touchstone_retrieval.audit.diversity import mean_cosine
from touchstone_retrieval.audit.measures import MEASURES, label_card
from touchstone_runtime.words import words_of


def test_a_card_has_a_measure_for_each_of_its_fields() -> None:
    assert {*MEASURES} == set(LabelCard.model_fields) - {"images"}
    assert len(MEASURES) >= 6


def test_agreement_counts_the_labels_that_the_judge_would_give_by_class() -> None:
    # The judge's classes lie at 0, 90 and 180 degrees.
    judge = Judge(unit(0, 90, 180), accuracy=0.9)
    card = label_card(audited([0, 0, 1, 1, 2], [10, 80, 100, 95, 44], judge=judge))
    assert card.agreement == JudgeAgreement(
        images=5, agreeing=3, images_by_class=(2, 2, 1), agreeing_by_class=(1, 2, 0), judge_accuracy=0.9
    )
    assert card.agreement.share == 0.6


def test_without_a_judge_nothing_is_said_about_agreement() -> None:
    assert label_card(audited([0, 1])).agreement is None


def test_an_empty_pool_has_a_card() -> None:
    card = label_card(audited([], [], judge=Judge(unit(0, 90, 180), 1.0)))
    assert card.images == 0
    assert card.agreement is not None
    assert card.agreement.share is None
    assert (card.captions, card.diversity, card.test_similarity, card.balance) == (None, None, None, ())


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("the Flag of Guinea, waving", {0}),
        ("flag-of-papua-new-guinea icon", {1}),
        ("Papua and the flag of Guinea", {0, 1}),
        ("Central African Republic", {2}),
        ("the flag of Guineans", set()),
        ("a C.A.R. sticker", {2}),
        ("flag of", set()),
        ("", set()),
    ],
)
def test_captions_name_classes_by_whole_words_and_the_longest_name(caption: str, named: set[int]) -> None:
    assert classes_named(words_of(caption), class_names(CLASSES)) == named


def test_captions_that_name_another_class_and_not_the_images_own_are_counted() -> None:
    captions = ["flag of Guinea", "papua", "papua beside the flag of Guinea", "something", ""]
    card = label_card(audited([0, 0, 0, 0, 0], captions=captions))
    assert card.captions is not None
    assert (card.captions.images, card.captions.own, card.captions.other) == (4, 2, 1)


def test_classes_that_are_called_alike_are_both_named() -> None:
    twins = (ClassLabel(id=0, display_name="crane"), ClassLabel(id=1, display_name="crane"))
    card = label_card(audited([0, 1], classes=twins, captions=["a crane", "a crane"]))
    assert card.captions is not None
    assert (card.captions.own, card.captions.other) == (2, 0)


def test_images_with_several_labels_are_counted_once() -> None:
    card = label_card(audited([0, 1, 2, 0], image_ids=["a", "a", "a", "b"]))
    assert card.labels is not None
    assert (card.labels.images, card.labels.several) == (2, 1)


def test_images_per_class_at_each_size_that_the_pool_reaches() -> None:
    card = label_card(audited([0] * 5 + [1] * 2, sizes=(9, 6, 3)))
    assert card.balance == (
        ClassBalance(size=3, fewest=0, median=1, most=2, short=1, empty=1),
        ClassBalance(size=6, fewest=0, median=2, most=4, short=1, empty=1),
    )


def test_a_uniform_draw_is_expected_by_share_and_the_best_are_counted() -> None:
    labels = [0] * 6 + [1] * 2
    uniform, best = (
        label_card(audited(labels, sizes=(4,), rules=Curation(balance="uniform", ranking=ranking))).balance[0]
        for ranking in ("random", "score")
    )
    assert (uniform.fewest, uniform.median, uniform.most, uniform.short) == (0, 1, 3, 1)
    assert (best.fewest, best.median, best.most) == (0, 0, 4)  # the scores fall


def test_a_mixture_takes_its_amount_of_each_part() -> None:
    mixing = Mixing(mode="fixed_total", amounts=(Count(images=2), Share(share=1.0)))
    parts = np.array([0, 0, 0, 1, 1, 1, 1])
    [size] = label_card(audited([0, 0, 0, 1, 1, 2, 2], parts=parts, mixing=mixing, sizes=(4, 8))).balance
    assert (size.size, size.fewest, size.most) == (4, 1, 2)  # two of class 0, one each of the others


@pytest.mark.parametrize("seed", range(5))
def test_turns_give_every_class_the_same_until_it_has_no_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    available = rng.integers(0, 9, size=12)
    for quota in range(int(available.sum()) + 1):
        drawn = in_turn(available, quota)
        assert drawn.sum() == quota
        assert (drawn <= available).all()
        assert all(drawn.max() - drawn[label] <= 1 for label in np.flatnonzero(drawn < available))


def test_diversity_is_the_cosine_of_pairs_within_a_class() -> None:
    card = label_card(audited([0, 0, 0, 1, 2, 2], [0, 0, 60, 45, 0, 90]))
    assert card.diversity is not None
    # Class 0: pairs 1, .5, .5, nearest 1, 1, .5; class 2: one pair at right angles; class 1 has no pair.
    assert card.diversity.classes == 2
    assert card.diversity.mean_cosine == pytest.approx((2 / 3 + 0) / 2, abs=1e-5)
    assert card.diversity.mean_nearest_cosine == pytest.approx((2.5 / 3 + 0) / 2, abs=1e-5)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [vectors[i] @ vectors[j] for i in range(20) for j in range(i)]
    assert mean_cosine(vectors) == pytest.approx(np.mean(pairs))


def test_similarity_to_the_test_images_leaves_out_what_was_not_compared() -> None:
    card = label_card(audited([0, 0, 0], test_cosines=np.array([0.2, 0.8, np.nan])))
    assert card.test_similarity is not None
    assert card.test_similarity.cosine_quantiles["0.5"] == 0.5
    assert card.test_similarity.cosine_quantiles["1"] == 0.8


# ------------------------------------------------------------------------------------------ the judge and the plan


@pytest.fixture
def lookup() -> DictLookup:
    names = DictLookup()
    clip = names.encoders["clip"]
    for name in ("filter", "judge"):
        names.encoders[name] = clip.model_copy(update={"name": name, "digest": sha256(name.encode())})
    names.encoders["same"] = clip.model_copy(update={"name": "same"})
    names.encoders["timm"] = names.encoders["judge"].model_copy(update={"name": "timm", "kind": "timm"})
    return names


@pytest.mark.parametrize(
    ("judge", "part"), [("clip", "is adapted"), ("same", "is adapted"), ("filter", "filters the images")]
)
def test_a_judge_that_has_a_part_in_what_it_judges_is_refused(lookup: DictLookup, judge: str, part: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_fair(resolve(spec(judge_encoder=judge, curation={"score_encoder": "filter"}), lookup))
    assert refused.value.code == "partial_judge"
    [error] = refused.value.errors
    assert error.pointer == "/judge_encoder"
    assert part in error.detail


def test_a_judge_must_be_registered_and_know_texts(lookup: DictLookup) -> None:
    with pytest.raises(Invalid) as unknown:
        resolve(spec(judge_encoder="nobody"), lookup)
    assert [error.pointer for error in unknown.value.errors] == ["/judge_encoder"]
    with pytest.raises(Invalid) as textless:
        check_fair(resolve(spec(judge_encoder="timm"), lookup))
    assert [error.pointer for error in textless.value.errors] == ["/judge_encoder"]


def audits(experiment: Any) -> dict[str, AuditPool]:
    return {
        step.role: step.request for step in plan_experiment(experiment).steps if isinstance(step.request, AuditPool)
    }


HALF = Mixture(
    name="half",
    parts=(Part(arm="retrieved", amount=Share(share=0.5)), Part(arm="synthetic", amount=Share(share=0.5))),
)
ARMS = (Retrieval(name="retrieved"), Generation(name="synthetic", generator="diffusion", images=300), HALF)


def test_every_arm_is_audited_and_a_mixture_embeds_nothing_again(lookup: DictLookup) -> None:
    with_judge = resolve(spec(judge_encoder="judge", arms=ARMS, targets=("fine",)), lookup)
    check_fair(with_judge)
    found, plan = audits(with_judge), plan_experiment(with_judge)
    assert {*found} == {f"fine/{arm}/audit" for arm in ("retrieved", "synthetic", "half")}
    mixed = found["fine/half/audit"]
    assert mixed.embedded == found["fine/retrieved/audit"].embedded + found["fine/synthetic/audit"].embedded
    assert mixed.mixing is not None
    assert {request.judge and request.judge.digest for request in found.values()} == {sha256(b"judge")}
    embeddings = {shard.embeddings for request in found.values() for shard in request.embedded}
    assert len(embeddings) == 1 + 3  # what was retrieved; the chunks that were generated
    [judging] = [step.request for step in plan.steps if step.role == "judge"]
    assert isinstance(judging, JudgeExperiment)
    assert {entry.arm for entry in judging.layout.audits} == {"retrieved", "synthetic", "half"}
    [early] = [step for step in plan.steps if step.role == "judge retrieved against synthetic"]
    assert not {plan.audits["fine", "half"]} & {*early.inputs}


def test_without_a_judge_the_embeddings_that_scored_the_images_are_used() -> None:
    plan = plan_experiment(resolved(targets=("fine",)))
    request = audits(resolved(targets=("fine",)))["fine/retrieved/audit"]
    curation: Any = plan.step(plan.curations["fine", "retrieved"]).request
    assert (request.judge, request.test, request.embedded) == (None, curation.test, curation.candidates)


# ------------------------------------------------------------------------------------------------ the verdict


def card(agreeing: int, of: int = 100) -> LabelCard:
    found = JudgeAgreement(images=of, agreeing=agreeing, images_by_class=(), agreeing_by_class=(), judge_accuracy=0.9)
    return LabelCard(images=of, agreement=found)


COMPARISON = Comparison(a="real", b="made")


def test_a_verdict_warns_where_the_labels_of_one_arm_are_right_more_often() -> None:
    cards = {("flags", "real"): card(47), ("flags", "made"): card(86), ("broad", "real"): card(60)}
    cards |= {("broad", "made"): card(70), ("flags", "third"): card(0)}
    [warning] = label_warnings(COMPARISON, cards)
    assert warning.startswith("flags: ")
    assert "47.0 % of the labels of real" in warning
    assert "86.0 % of those of made" in warning


@pytest.mark.parametrize("other", [LabelCard(images=3), card(0, of=0), None])
def test_without_two_figures_there_is_nothing_to_warn_of(other: LabelCard | None) -> None:
    cards = {("flags", "real"): card(47)} | ({("flags", "made"): other} if other else {})
    assert list(label_warnings(COMPARISON, cards)) == []
