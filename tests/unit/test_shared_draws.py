"""What the plan says of an interval: which arms share draws, which test images belong together, what is unsaid."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from support.memory_services import memory_services
from support.specs import DictLookup, resolved, spec, target
from support.verdict_tables import PAGE, TABLES, Table, with_table
from touchstone_contracts.access import DEFAULT_PROJECT
from touchstone_contracts.catalogue import ClusterColumn, ClusterOfKey, ParquetFile, Target
from touchstone_contracts.identity import sha256
from touchstone_contracts.steps import EARLIER, AnyContract, IngestImages, JudgeExperiment
from touchstone_judge.draws import images_in_common
from touchstone_planning.draws import share_draws
from touchstone_planning.plan import NO_CONTRACTS, plan_experiment
from touchstone_planning.resolve import resolve
from touchstone_planning.resolved import ResolvedExperiment
from touchstone_store.catalogue import NameTaken, find_entry, register

REAL = {"kind": "retrieval", "name": "real"}
MADE = {"kind": "generation", "name": "made", "generator": "diffusion", "images": 300}


def mixed(name: str, share: float) -> dict[str, object]:
    parts = [("real", share), ("made", 1 - share)]
    amounts = [{"arm": arm, "amount": {"kind": "share", "share": part}} for arm, part in parts]
    return {"kind": "mixture", "name": name, "mode": "fixed_total", "parts": amounts}


def perturbed(parent: str) -> dict[str, object]:
    return {"kind": "perturbation", "name": f"noisy-{parent}", "parent": parent, "generator": "diffusion", "gamma": 0.5}


@pytest.mark.parametrize(
    ("a", "b", "paired"),
    [
        ("real", "made", False),
        ("real", "half", True),
        ("real", "little", False),
        ("half", "little", True),
        ("real", "noisy-real", True),
        ("made", "noisy-real", False),
        ("half", "noisy-real", True),
    ],
)
def test_arms_are_paired_where_the_plan_draws_mostly_the_same_images(a: str, b: str, paired: bool) -> None:
    arms = (REAL, MADE, mixed("half", 0.5), mixed("little", 0.2), perturbed("real"))
    experiment = resolved(arms=arms, sizes=(20,), comparison={"a": a, "b": b})
    assert share_draws(experiment, a, b) is paired
    assert judgement(experiment).paired is paired


def test_draws_by_score_are_the_same_for_every_seed_and_pair_nothing() -> None:
    arms = (REAL, MADE, mixed("half", 0.5))
    experiment = resolved(arms=arms, sizes=(20,), curation={"ranking": "score"}, comparison={"a": "real", "b": "half"})
    assert not share_draws(experiment, "real", "half")


def judgement(experiment: ResolvedExperiment, contracts: Mapping[str, AnyContract] = NO_CONTRACTS) -> JudgeExperiment:
    plan = plan_experiment(experiment, contracts=contracts)
    request = plan.step(plan.judgements[-1].step).request
    assert isinstance(request, JudgeExperiment)
    return request


def test_what_a_spec_does_not_say_is_borrowed_now_and_own_under_the_contract_of_before() -> None:
    now = judgement(resolved()).comparison
    before = judgement(resolved(), contracts={"judge_experiment": EARLIER["judge_experiment.1"]})
    declared = judgement(resolved(comparison={"a": "retrieved", "b": "synthetic", "spread": "own"})).comparison
    assert now is not None
    assert now.spread == "borrowed"
    assert before.comparison is not None
    assert (before.comparison.spread, before.paired, before.drawing) == (None, False, None)
    assert declared is not None
    assert declared.spread == "own"


# ------------------------------------------------------------------------------------------------ clusters


def lookup(cluster: ClusterColumn | ClusterOfKey | None) -> DictLookup:
    """`fine` with clusters on its test split."""
    found = DictLookup()
    plain = found.targets["fine"]
    test = plain.splits.test.model_copy(update={"cluster": cluster})
    found.targets["fine"] = plain.model_copy(update={"splits": plain.splits.model_copy(update={"test": test})})
    return found


def steps(found: DictLookup) -> dict[str, str]:
    """Role -> step."""
    return {step.role: step.id for step in plan_experiment(resolve(spec(), found)).steps}


def test_clusters_by_key_change_the_judgement_alone() -> None:
    plain, clustered = steps(lookup(None)), steps(lookup(ClusterOfKey(remove="-")))
    assert {role for role, step in clustered.items() if plain[role] != step} == {"judge"}


def test_clusters_by_column_are_ingested_with_the_split() -> None:
    plain, clustered = steps(lookup(None)), steps(lookup(ClusterColumn(column="patient")))
    assert plain["fine/test/ingest"] != clustered["fine/test/ingest"]
    assert plain["broad/test/ingest"] == clustered["broad/test/ingest"]
    plan = plan_experiment(resolve(spec(), lookup(ClusterColumn(column="patient"))))
    request = plan.step(clustered["fine/test/ingest"]).request
    assert isinstance(request, IngestImages)
    assert isinstance(request.source, ParquetFile)
    assert request.source.cluster == ClusterColumn(column="patient")


def test_a_registered_target_may_be_given_clusters_later_and_nothing_else(tmp_path: Path) -> None:
    plain, clustered = (lookup(cluster).targets["fine"] for cluster in (None, ClusterOfKey(remove="-")))
    other = clustered.model_copy(update={"description": "another"})
    with memory_services(tmp_path).store.write() as session:
        assert [register(session, entry, DEFAULT_PROJECT, datetime.now(UTC)) for entry in (plain, clustered)] == [
            True,
            False,
        ]
        assert find_entry(session, Target, "fine", DEFAULT_PROJECT) == clustered
        with pytest.raises(NameTaken):
            register(session, other, DEFAULT_PROJECT, datetime.now(UTC))


def test_only_test_sets_have_clusters() -> None:
    document = target("fine").model_dump(mode="json")
    document["splits"]["validation"]["cluster"] = {"kind": "key", "remove": "-"}
    with pytest.raises(ValidationError, match="validation names clusters, which only test sets have"):
        Target.model_validate(document)


def test_what_is_removed_from_keys_must_be_a_regular_expression() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        ClusterOfKey(remove="(")


def test_a_split_without_clusters_is_what_it_was() -> None:
    split = ParquetFile(location="library:a.parquet", digest=sha256(b"a"), images=3)
    assert split.cluster is None


# ------------------------------------------------------------------------------------------------ overlap of seeds


@pytest.mark.parametrize("balance", ["uniform", "stratified"])
@pytest.mark.parametrize(("pool", "quota"), [((50, 50), 20), ((5, 40, 10), 21), ((30,), 30)])
def test_the_expected_overlap_of_two_seeds_is_what_draws_give(pool: tuple[int, ...], quota: int, balance: str) -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(len(pool)), pool)

    def draw() -> set[int]:
        order = rng.permutation(len(classes))
        if balance == "uniform":
            return set(order[:quota].tolist())
        turns = [order[classes[order] == label] for label in rng.permutation(len(pool))]
        in_turn = [queue[position] for position in range(max(pool)) for queue in turns if position < len(queue)]
        return {int(image) for image in in_turn[:quota]}

    found = np.mean([len(draw() & draw()) for _ in range(2000)])
    assert images_in_common(pool, quota, balance) == pytest.approx(found, rel=0.03)


# ------------------------------------------------------------------------------------------------ the page's tables


def test_the_page_has_a_mark_and_a_table_for_every_name() -> None:
    page = PAGE.read_text()
    assert len(TABLES) >= 8
    for name in TABLES:
        assert f"<!-- table: {name} -->\n|" in page


def test_a_table_replaces_the_one_before_and_nothing_else() -> None:
    page = "before\n<!-- table: one -->\n| old |\n<!-- end of table -->\nafter\n"
    written = with_table(page, "one", Table(["a"], [["1"]]))
    assert written == "before\n<!-- table: one -->\n| a |\n| --- |\n| 1 |\n<!-- end of table -->\nafter\n"
    with pytest.raises(ValueError, match="0 positions for table 'two'"):
        with_table(page, "two", Table(["a"], []))
