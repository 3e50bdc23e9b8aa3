"""What many requests say alike is stored once and named; inputs are what a request's types say they are."""

import json
from typing import Any

import pytest
from pydantic import BaseModel
from support.specs import DictLookup, resolved
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.facts import Facts, fact_fields, opened, references_in, stored_form
from touchstone_contracts.identity import sha256
from touchstone_contracts.keys import blob_key
from touchstone_contracts.steps import (
    ADAPT_ENCODER,
    CATALOGUE,
    EARLIER,
    RETRIEVE_IMAGES,
    WRITE_PROMPTS,
    AdaptEncoder,
    EvaluateEncoder,
    WritePrompts,
    contract_of,
)
from touchstone_planning.dag import Plan
from touchstone_planning.plan import plan_experiment, plan_upstream
from touchstone_runtime.artifacts import Artifacts, CorruptObject
from touchstone_runtime.objects import MemoryObjects, MissingObject

NAMES = tuple(ClassLabel(id=number, display_name=f"thing {number}") for number in range(500))


def prompts(classes: tuple[ClassLabel, ...] = NAMES) -> WritePrompts:
    return WritePrompts(classes=classes, templates=("an icon of {name}",), images_per_class=2)


def test_a_request_travels_with_the_digests_of_its_facts_and_is_whole_again_where_they_are_read() -> None:
    facts = Facts()
    stored = stored_form(prompts(), facts)

    assert set(references_in(stored)) == {"classes", "templates"}
    assert len(json.dumps(stored)) < 300
    read = {digest: json.loads(data) for digest, data in facts.blobs.items()}
    assert WritePrompts.model_validate(opened(stored, read.__getitem__)) == prompts()


def test_a_fact_that_a_thousand_requests_name_is_stored_once() -> None:
    facts = Facts()
    stored = [stored_form(prompts().model_copy(update={"images_per_class": n}), facts) for n in range(1, 1001)]
    assert len({json.dumps(each) for each in stored}) == 1000
    assert len(facts.blobs) == 2


def test_equal_facts_from_other_objects_have_one_name_and_other_facts_another() -> None:
    copies = tuple(label.model_copy() for label in NAMES)
    one, two = Facts(), Facts()
    assert one.add(NAMES) == two.add(copies) == one.add(copies)
    assert one.add(NAMES[:-1]) != one.add(NAMES)


def test_a_step_is_named_alike_whether_its_facts_are_known_before_or_not() -> None:
    facts = Facts()
    assert WRITE_PROMPTS.step_id(prompts(), facts) == WRITE_PROMPTS.step_id(prompts())


def test_an_empty_fact_stays_in_the_request() -> None:
    plan = plan_experiment(resolved())
    curations = [step for step in plan.steps if step.kind == "curate_images"]
    assert len(curations) == 4
    assert all("upstream" not in references_in(step.stored) for step in curations)


BEFORE_FACTS = sorted(channel for channel, contract in EARLIER.items() if not contract.names_facts)


@pytest.mark.parametrize("channel", BEFORE_FACTS)
def test_a_version_from_before_facts_is_the_same_request_under_another_identity(channel: str) -> None:
    kind, version = channel.rsplit(".", 1)
    earlier, today = contract_of(kind, int(version)), CATALOGUE[kind]
    assert earlier is not None
    assert earlier.request == today.request
    assert not [version for version in range(1, earlier.version) if contract_of(kind, version)]
    request: type[BaseModel] = today.request
    assert fact_fields(request)
    assert len(BEFORE_FACTS) == 10


def test_inputs_are_the_steps_that_fields_are_declared_to_hold() -> None:
    plan = plan_experiment(resolved(targets=("fine",)))
    seen = 0
    for step in plan.steps:
        assert all(plan.step(needed) for needed in step.inputs), step.role
        if isinstance(step.request, AdaptEncoder):
            assert step.inputs == (step.request.pool, step.request.validation)
            seen += 1
        if isinstance(step.request, EvaluateEncoder):
            runs = tuple(adaptation.step for adaptation in step.request.adaptations)
            assert step.inputs == (*runs, step.request.validation, step.request.test)
            seen += 1
    assert seen == 2 * 2 * 2 + 2 + 2 * 2 * 2


def test_a_text_that_looks_like_a_step_is_no_input() -> None:
    plan = Plan()
    first = plan.add(WRITE_PROMPTS, prompts(), "first")
    named_like_it = (ClassLabel(id=0, display_name=first), ClassLabel(id=1, display_name="other"))
    second = plan.add(WRITE_PROMPTS, prompts(named_like_it), "second")
    assert plan.step(second).inputs == ()


def test_retrieval_waits_for_the_index_and_not_for_every_shard_again() -> None:
    lookup = DictLookup()
    upstream = plan_upstream(lookup.upstreams["world"], lookup.encoders["clip"])
    assert upstream.upstream is not None
    (index,) = [step for step in upstream.steps if step.kind == "index_upstream"]
    assert len(index.inputs) == 4
    plan = plan_experiment(resolved(), upstream.upstream)
    (retrieval,) = [step for step in plan.steps if step.kind == RETRIEVE_IMAGES.name]
    assert retrieval.inputs == (index.id,)


def stored_facts() -> tuple[Artifacts, MemoryObjects, Facts]:
    objects, facts = MemoryObjects(), Facts()
    facts.add(NAMES)
    artifacts = Artifacts(objects)
    artifacts.put_facts(facts.blobs)
    return artifacts, objects, facts


def test_facts_are_written_once_and_read_from_memory_the_second_time() -> None:
    artifacts, objects, facts = stored_facts()
    (digest,) = facts.blobs
    first: Any = artifacts.fact(digest)
    assert len(first) == len(NAMES)
    objects.put(blob_key(digest), b"overwritten")
    assert artifacts.fact(digest) is first


def test_a_lost_or_damaged_fact_is_told() -> None:
    _, objects, facts = stored_facts()
    (digest,) = facts.blobs
    objects.put(blob_key(digest), b"[]")
    with pytest.raises(CorruptObject):
        Artifacts(objects).fact(digest)
    with pytest.raises(MissingObject):
        Artifacts(MemoryObjects()).fact(sha256(b"nothing"))


def test_writing_facts_again_mends_a_damaged_one() -> None:
    artifacts, objects, facts = stored_facts()
    (digest,) = facts.blobs
    objects.put(blob_key(digest), b"[]")
    artifacts.put_facts(facts.blobs)
    assert len(Artifacts(objects).fact(digest)) == len(NAMES)


def test_adapting_names_its_classes_templates_and_rules() -> None:
    assert set(fact_fields(ADAPT_ENCODER.request)) == {"classes", "templates", "rules"}
