"""The plan names every step before anything runs, and equal work is one step."""

from collections import Counter
from typing import Any

import pytest
from support.specs import DictLookup, resolved, source, spec
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.mixture import Mixture, Part, Share
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import RandomDraw, Retrieval, Semantic, Strategy, TextMatch, Union
from touchstone_contracts.arms.target_train import TargetTrain
from touchstone_contracts.catalogue import ArrayFile, LinkTable, Upstream
from touchstone_contracts.curation import Curation
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import identity, identity_text, sha256
from touchstone_contracts.layout import Cell
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.recipes.head_only import HeadOnly
from touchstone_contracts.recipes.learned_prompts import LearnedPrompts
from touchstone_contracts.recipes.lora import LoRA
from touchstone_contracts.recipes.optimisation import Optimisation
from touchstone_contracts.steps import CATALOGUE, AdaptEncoder, CurateImages, MixPools
from touchstone_planning.dag import Plan, UpstreamLayout, ingest_steps
from touchstone_planning.estimate import workload
from touchstone_planning.layout import layout_of
from touchstone_planning.plan import plan_experiment, plan_upstream
from touchstone_planning.resolve import resolve
from touchstone_planning.strategies import rules_of


def kinds(plan: Plan) -> Counter[str]:
    return Counter(step.kind for step in plan.steps)


def new_kinds(before: Plan, after: Plan) -> set[str]:
    known = {step.id for step in before.steps}
    return {step.kind for step in after.steps if step.id not in known}


def test_an_experiment_is_planned_to_the_last_step() -> None:
    plan = plan_experiment(resolved())
    assert kinds(plan) == {
        "ingest_images": 2 + 2 * 2,  # upstream shards; validation and test of each target
        "embed_images": 2 + 4 + 1 + 3,  # shards; test and validation splits; the found set; the generated chunks
        "index_upstream": 1,
        # The two targets have the same classes, so what does not depend on their splits is shared.
        "retrieve_images": 1,
        "write_prompts": 1,
        "generate_images": 3,
        "curate_images": 4,
        "audit_pool": 4,
        "adapt_encoder": 2 * 2 * 2 * 2,
        "evaluate_encoder": 2 * (2 + 2 * 2 * 2),
        "probe_sources": 2,
        "check_target": 2,
        "compare_splits": 2,
        "judge_experiment": 1,
    }
    assert len(plan.evaluations) == 2 * (2 + 2 * 2 * 2)
    assert set(plan.curations) == {(t, a) for t in ("fine", "broad") for a in ("retrieved", "synthetic")}
    assert Cell(target="fine", arm="none", size=0, seed=1) in plan.evaluations


def test_inputs_come_before_the_steps_that_name_them() -> None:
    plan = plan_experiment(resolved())
    seen: set[str] = set()
    for step in plan.steps:
        assert set(step.inputs) <= seen, step.role
        assert CATALOGUE[step.kind].step_id(step.request) == step.id
        seen.add(step.id)
    without_inputs = {step.kind for step in plan.steps if not step.inputs}
    assert without_inputs == {"ingest_images", "write_prompts"}


def test_planning_twice_gives_the_same_identities() -> None:
    assert [s.id for s in plan_experiment(resolved()).steps] == [s.id for s in plan_experiment(resolved()).steps]


def test_other_sizes_need_only_new_runs_and_counts_of_images_per_class() -> None:
    changed = new_kinds(plan_experiment(resolved()), plan_experiment(resolved(sizes=(6, 15))))
    assert changed == {"audit_pool", "adapt_encoder", "evaluate_encoder", "probe_sources", "judge_experiment"}


def test_the_names_of_experiment_and_arms_decide_the_words_of_the_verdict_alone() -> None:
    renamed = resolved(
        name="another",
        arms=(
            NoTraining(name="baseline"),
            Retrieval(name="real"),
            Generation(name="fake", generator="diffusion", images=300),
        ),
    )
    assert new_kinds(plan_experiment(resolved()), plan_experiment(renamed)) == {"judge_experiment"}


def test_another_learning_rate_keeps_the_runs_of_the_first() -> None:
    one = plan_experiment(resolved(recipe=CrossEntropy(learning_rates=(1e-5,))))
    two = plan_experiment(resolved(recipe=CrossEntropy(learning_rates=(1e-5, 1e-4))))
    fresh = Counter(s.kind for s in two.steps if s.id not in {s.id for s in one.steps})
    assert fresh == {"adapt_encoder": 16, "evaluate_encoder": 16, "probe_sources": 2, "judge_experiment": 1}


def test_a_recipe_without_a_learning_rate_is_planned_once_per_seed() -> None:
    plan = plan_experiment(resolved(recipe=HeadOnly()))
    requests = [step.request for step in plan.steps if isinstance(step.request, AdaptEncoder)]
    assert len(requests) == 2 * 2 * 2 * 2
    assert {request.learning_rate for request in requests} == {None}


@pytest.mark.parametrize("recipe", [CrossEntropy, Contrastive, LoRA, LearnedPrompts])
def test_every_learning_rate_of_a_grid_is_planned(recipe: type[Optimisation]) -> None:
    plan = plan_experiment(resolved(recipe=recipe.model_validate({"learning_rates": (1e-4, 1e-3)})))
    requests = [step.request for step in plan.steps if isinstance(step.request, AdaptEncoder)]
    assert len(requests) == 2 * 16
    assert all(
        isinstance(request.recipe, Optimisation) and request.recipe.learning_rates == (request.learning_rate,)
        for request in requests
    )


def test_ingests_of_a_targets_splits_know_its_classes_and_those_of_an_upstream_none() -> None:
    lookup, plan = DictLookup(), plan_experiment(resolved())
    ingests = {step.id: step.stored.get("classes") for step in plan.steps if step.kind == "ingest_images"}
    for target in lookup.targets.values():
        for split in (target.splits.validation, target.splits.test):
            classes = len(target.classes)
            assert ingests.pop(ingest_steps(split, target.most_losses, classes)[0]) == classes
    assert list(ingests.values()) == [None] * len(lookup.upstreams["world"].shards)


def test_an_experiment_reuses_every_step_of_its_upstreams_ingest() -> None:
    lookup = DictLookup()
    ingest = plan_upstream(lookup.upstreams["world"], lookup.encoders["clip"])
    assert kinds(ingest) == {"ingest_images": 2, "embed_images": 2, "index_upstream": 1}
    assert {step.id for step in ingest.steps} <= {step.id for step in plan_experiment(resolved()).steps}


def test_without_a_retrieval_arm_the_upstream_is_not_touched() -> None:
    plan = plan_experiment(resolved(arms=(NoTraining(),), sizes=(6,)))
    assert kinds(plan) == {"ingest_images": 4, "check_target": 2, "evaluate_encoder": 4, "judge_experiment": 1}


def test_a_shard_added_later_is_ingested_and_embedded_alone() -> None:
    lookup = DictLookup()
    before, encoder = lookup.upstreams["world"], lookup.encoders["clip"]
    after = before.model_copy(update={"shards": (*before.shards, source("s2", 50))})
    known = {step.id for step in plan_upstream(before, encoder).steps}
    fresh = Counter(step.kind for step in plan_upstream(after, encoder).steps if step.id not in known)
    assert fresh == {"ingest_images": 1, "embed_images": 1, "index_upstream": 1}


def test_the_limit_of_losses_is_asked_for_where_it_is_not_the_usual_one() -> None:
    lookup = DictLookup()
    usual, encoder = lookup.upstreams["world"], lookup.encoders["clip"]
    strict = usual.model_copy(update={"most_losses": 0.0})
    assert identity(usual) == identity(Upstream.model_validate(usual.model_dump(exclude={"most_losses"})))
    assert identity(strict) != identity(usual)
    for upstream, limits in ((usual, [None, None]), (strict, [0.0, 0.0])):
        ingests = [step for step in plan_upstream(upstream, encoder).steps if step.kind == "ingest_images"]
        assert [step.stored.get("most_losses") for step in ingests] == limits
        shards = zip(ingests, upstream.shards, strict=True)
        assert all(step.id == ingest_steps(shard, upstream.most_losses)[0] for step, shard in shards)


def test_a_target_s_limit_holds_for_each_of_its_splits() -> None:
    known = resolved(arms=(NoTraining(),), sizes=(6,))
    lenient = tuple(target.model_copy(update={"most_losses": 0.5}) for target in known.targets)
    plan = plan_experiment(known.model_copy(update={"targets": lenient}))
    ingests = [step.stored for step in plan.steps if step.kind == "ingest_images"]
    assert [stored["most_losses"] for stored in ingests] == [0.5] * 4


def test_links_have_no_limit_of_losses() -> None:
    upstream = Upstream(name="world", shards=(links("m0"),), index_encoder="clip", most_losses=0.5)
    [ingest] = [step for step in plan_upstream(upstream, DictLookup().encoders["clip"]).steps if "ingest" in step.kind]
    assert "most_losses" not in ingest.stored


def links(name: str) -> LinkTable:
    vectors = ArrayFile(location=f"s3://laion/{name}.npy", digest=sha256(f"{name}.npy".encode()))
    table = f"s3://laion/{name}.parquet"
    return LinkTable(location=table, digest=sha256(name.encode()), images=50, image_embeddings=vectors)


def test_links_are_indexed_without_images_and_downloaded_class_by_class() -> None:
    upstream = Upstream(name="world", shards=(links("m0"), links("m1")), index_encoder="clip")
    plan = plan_experiment(resolved().model_copy(update={"upstream": upstream}))
    counts = kinds(plan)
    assert counts["take_embeddings"] == 2
    assert counts["retrieve_images"] == 2  # as many as the arm wants, and the deeper list behind it
    assert counts["download_images"] == 3
    assert counts["embed_images"] == 4 + 3 + 3  # splits, downloaded classes, generated chunks: no upstream image
    downloads = [step for step in plan.steps if step.kind == "download_images"]
    assert [step.stored["placeholder_links"] for step in downloads] == [5, 5, 5]
    curations = {step.role: step.stored.get("placeholder_links") for step in plan.steps if step.kind == "curate_images"}
    assert {role.split("/")[1]: links for role, links in curations.items()} == {"retrieved": 5, "synthetic": None}
    assert [step.role for step in downloads] == [f"fine/retrieved/download[{label}]" for label in range(3)]
    retrieved = {step.id for step in plan.steps if step.kind == "retrieve_images"}
    assert all(set(step.inputs) == retrieved for step in downloads)


def test_a_table_of_links_added_later_takes_over_its_own_embeddings_alone() -> None:
    encoder = DictLookup().encoders["clip"]
    one = Upstream(name="world", shards=(links("m0"),), index_encoder="clip")
    two = Upstream(name="world", shards=(links("m0"), links("m1")), index_encoder="clip")
    known = {step.id for step in plan_upstream(one, encoder).steps}
    fresh = Counter(step.kind for step in plan_upstream(two, encoder).steps if step.id not in known)
    assert fresh == {"ingest_images": 1, "take_embeddings": 1, "index_upstream": 1}


def test_the_reserve_is_the_same_strategy_asked_for_more() -> None:
    def deeper(strategy: Strategy) -> Strategy:
        return rules_of(strategy).deeper(strategy)

    assert deeper(TextMatch(results_per_query=3)) == TextMatch(results_per_query=6)
    assert deeper(RandomDraw(images_per_class=60_000)) == RandomDraw(images_per_class=100_000)
    union = Union(text_match=TextMatch(mode="all_tokens"), semantic=Semantic(indexes=("image",), results_per_query=7))
    both = deeper(union)
    assert both == Union(
        text_match=TextMatch(mode="all_tokens", results_per_query=1000),
        semantic=Semantic(indexes=("image",), results_per_query=14),
    )


def with_train() -> DictLookup:
    lookup = DictLookup()
    for name, each in lookup.targets.items():
        splits = each.splits.model_copy(update={"train": source(f"{name}-train", 30)})
        lookup.targets[name] = each.model_copy(update={"splits": splits})
    return lookup


ARMS = (Retrieval(name="retrieved"), Generation(name="synthetic", generator="diffusion", images=300))


def test_the_targets_own_training_images_are_curated_like_any_arm() -> None:
    plan = plan_experiment(resolve(spec(targets=("fine",), arms=(TargetTrain(),), sizes=(6,)), with_train()))
    assert kinds(plan)["ingest_images"] == 3
    assert kinds(plan)["curate_images"] == 1
    (train,) = [step.id for step in plan.steps if step.role == "fine/train/ingest"]
    (curate,) = [step.request for step in plan.steps if step.kind == "curate_images"]
    assert isinstance(curate, CurateImages)
    assert [shard.images for shard in curate.candidates] == [train]


@pytest.mark.parametrize(
    ("metrics", "images"),
    [(("zero_shot",), 10), (("linear_probe",), 40), (("regularised_probe",), 40), (("linear_probe", "zero_shot"), 40)],
)
def test_an_estimate_counts_the_training_split_once_where_a_metric_is_fitted_on_it(
    metrics: tuple[str, ...], images: int
) -> None:
    experiment = spec(targets=("fine",), arms=(NoTraining(),), seeds=(0,), evaluation={"metrics": metrics})
    found = resolve(experiment, with_train())
    assert workload(found, plan_experiment(found)).images_evaluated == images


def test_a_mixture_adds_one_step_and_its_runs() -> None:
    half = Mixture(
        name="mixed",
        parts=(Part(arm="synthetic", amount=Share(share=0.5)), Part(arm="retrieved", amount=Share(share=0.5))),
    )
    alone, mixed = plan_experiment(resolved(arms=ARMS)), plan_experiment(resolved(arms=(half, *ARMS)))
    fresh = Counter(step.kind for step in mixed.steps if step.id not in {s.id for s in alone.steps})
    # A third arm is not waited for by the comparison that does not name it.
    # The mixture stands first, so it is compared and its sources are probed.
    runs = {"adapt_encoder": 8, "evaluate_encoder": 8, "probe_sources": 2, "judge_experiment": 2}
    assert fresh == {"mix_pools": 2, "audit_pool": 2} | runs
    pools = {step.id: step.request for step in mixed.steps if step.kind == "mix_pools"}
    for name in ("fine", "broad"):
        request = pools[mixed.curations[name, "mixed"]]
        assert isinstance(request, MixPools)
        assert request.pools == (mixed.curations[name, "synthetic"], mixed.curations[name, "retrieved"])


def test_another_ratio_shares_the_mixed_pool() -> None:
    def mixture(name: str, share: float) -> Mixture:
        amounts = Share(share=share), Share(share=1 - share)
        names = ("retrieved", "synthetic")
        parts = tuple(Part(arm=arm, amount=amount) for arm, amount in zip(names, amounts, strict=True))
        return Mixture(name=name, parts=parts)

    plan = plan_experiment(resolved(targets=("fine",), arms=(*ARMS, mixture("half", 0.5), mixture("most", 0.75))))
    assert kinds(plan)["mix_pools"] == 1
    assert kinds(plan)["adapt_encoder"] == 4 * 2 * 2


def test_rules_left_at_their_defaults_do_not_move_an_identity() -> None:
    # The steps of the experiment as it was planned before these fields existed.
    stated = resolved(curation=Curation(leak_splits=("test",), novelty_cosine=None, score_encoder=None))
    assert new_kinds(plan_experiment(resolved()), plan_experiment(stated)) == set()
    stored = {"rules": Curation().model_dump(), "later": Curation(novelty_cosine=0.5)}
    assert "novelty_cosine" not in identity_text(Curation.model_validate(stored["rules"]))
    assert '"novelty_cosine":0.5' in identity_text(stored["later"])


def test_decontamination_against_validation_embeds_that_split() -> None:
    plan = plan_experiment(resolved(curation=Curation(leak_splits=("test", "validation"))))
    requests = [step.request for step in plan.steps if step.kind == "curate_images"]
    assert len(requests) == 4
    assert all(isinstance(request, CurateImages) and request.validation for request in requests)


def test_only_synthetic_arms_are_compared_with_the_upstream() -> None:
    plan = plan_experiment(resolved(targets=("fine",), arms=ARMS, curation=Curation(novelty_cosine=0.8)))
    compared = {step.role: step.request for step in plan.steps if step.kind == "curate_images"}
    assert {role: len(getattr(request, "upstream")) for role, request in compared.items()} == {  # noqa: B009
        "fine/retrieved/curate": 0,
        "fine/synthetic/curate": 2,
    }
    # The embeddings that retrieval searches are the ones compared: nothing is embedded twice.
    assert kinds(plan)["embed_images"] == kinds(plan_experiment(resolved(targets=("fine",), arms=ARMS)))["embed_images"]


def upstream_layout(lookup: DictLookup | None = None) -> UpstreamLayout:
    """Where the upstream's own plan leaves it."""
    lookup = lookup or DictLookup()
    layout = plan_upstream(lookup.upstreams["world"], lookup.encoders["clip"]).upstream
    assert layout is not None
    return layout


def test_an_experiment_waits_for_its_upstreams_plan_instead_of_repeating_its_steps() -> None:
    layout = upstream_layout()
    plan = plan_experiment(resolved(targets=("fine",)), layout)

    assert plan.waits_for_others
    assert not [step.role for step in plan.steps if step.role.startswith("world/")]
    (retrieval,) = [step for step in plan.steps if step.kind == "retrieve_images"]
    assert retrieval.inputs == (layout.index,)
    alone = plan_experiment(resolved(targets=("fine",)))
    assert {step.id for step in plan.steps} < {step.id for step in alone.steps}
    assert not alone.waits_for_others


def test_an_experiment_that_needs_no_upstream_waits_for_nobody() -> None:
    plan = plan_experiment(resolved(targets=("fine",), arms=ARMS[1:]), upstream_layout())
    assert not plan.waits_for_others


@pytest.mark.parametrize(("copy_encoder", "embedded_again"), [(None, 0), ("copies", 2)])
def test_novelty_compares_with_the_upstream_as_it_is_searched_unless_another_encoder_compares(
    copy_encoder: str | None, embedded_again: int
) -> None:
    lookup = DictLookup()
    lookup.encoders["copies"] = lookup.encoders["clip"].model_copy(update={"digest": sha256(b"other")})
    rules = Curation(memorisation_cosine=0.95, copy_encoder=copy_encoder)
    layout = upstream_layout(lookup)
    plan = plan_experiment(resolve(spec(targets=("fine",), arms=ARMS[1:], curation=rules), lookup), layout)

    again = [step for step in plan.steps if step.role.startswith("world/")]
    assert [step.kind for step in again] == ["embed_images"] * embedded_again
    (curation,) = [step.request for step in plan.steps if isinstance(step.request, CurateImages)]
    assert [part.images for part in curation.upstream] == [part.images for part in layout.shards]
    assert (curation.upstream == layout.shards) == (not embedded_again)


def test_encoders_of_curation_are_named_by_digest_only() -> None:
    lookup = DictLookup()
    other = lookup.encoders["clip"].model_copy(update={"digest": sha256(b"other")})
    lookup.encoders |= {"copies": other, "same": other}
    plans = [
        plan_experiment(resolve(spec(targets=("fine",), arms=ARMS, curation=Curation(copy_encoder=name)), lookup))
        for name in ("copies", "same")
    ]
    assert new_kinds(plans[0], plans[1]) == set()
    curations = [step.request for step in plans[0].steps if step.kind == "curate_images"]
    assert len(curations) == 2
    for request in curations:
        assert isinstance(request, CurateImages)
        assert request.encoder.digest == lookup.encoders["clip"].digest
        assert len(request.copy_embeddings) == len(request.candidates)


def test_the_sources_of_the_compared_arms_are_probed_without_keeping_the_verdict() -> None:
    plan = plan_experiment(resolved(targets=("fine",), sizes=(6, 12), seeds=(3, 4)))
    [(key, step)] = plan.probes.items()
    request: Any = plan.step(step).request
    assert key == ("fine", "retrieved", "synthetic")
    assert request.pools == (plan.curations["fine", "retrieved"], plan.curations["fine", "synthetic"])
    runs: list[Any] = [plan.step(run.step).request for grid in request.adaptations for run in grid]
    assert {(run.pool, run.size, run.seed) for run in runs} == {(p, 12, s) for p in request.pools for s in (3, 4)}
    assert request.seed == 3
    judgement = next(found for found in plan.steps if found.kind == "judge_experiment")
    assert step not in judgement.inputs
    assert layout_of(plan).probes[0].step == step


def test_a_comparison_with_the_untouched_encoder_has_no_sources_to_probe() -> None:
    arms = (NoTraining(), Retrieval(name="retrieved"))
    assert plan_experiment(resolved(arms=arms)).probes == {}
    against_none = Comparison(a="retrieved", b="none")
    assert plan_experiment(resolved(arms=arms, comparison=against_none)).probes == {}
