"""Unfair or impossible comparisons are refused with the field and the reason."""

import pytest
from support.specs import DictLookup, resolved, spec
from touchstone_api.experiments.fairness import check_fair
from touchstone_api.experiments.resolve import resolve
from touchstone_contracts.arms.generation import Generation
from touchstone_contracts.arms.nothing import NoTraining
from touchstone_contracts.arms.retrieval import Retrieval, Semantic
from touchstone_contracts.curation import Curation, KeepTopFraction
from touchstone_contracts.problems import Invalid, Unfair


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


@pytest.mark.parametrize(("size", "reachable"), [(3 * 50, True), (3 * 50 + 1, False)])
def test_a_size_beyond_what_the_generator_leaves_is_refused(size: int, reachable: bool) -> None:
    # 100 images a class, the better half by score: 50 stay.
    experiment = resolved(sizes=(6, size), curation=Curation(filter=KeepTopFraction(fraction=0.5)))
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
