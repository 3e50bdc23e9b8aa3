"""What was once written to a queue or an object store must still be read. Samples are added, never edited.

`published/<name>.<n>.json`: the n-th shape of that message. A shape that today's code would no longer write stays."""

import json
from pathlib import Path
from typing import Any

import pytest
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.facts import opened, references_in
from touchstone_contracts.identity import canonical_json, sha256
from touchstone_contracts.messages import REPORTS, StepManifest, StepMessage
from touchstone_contracts.problems import Problem
from touchstone_contracts.steps import CATALOGUE, EARLIER, QUEUES, AnyContract, contract_of
from touchstone_runtime.artifacts import blobs_in

PUBLISHED = Path(__file__).parent / "published"
STEP_SAMPLES = sorted(path for path in PUBLISHED.glob("*.json") if path.name.split(".")[0] in CATALOGUE)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def newest(kind: str) -> Path:
    return max(PUBLISHED.glob(f"{kind}.*.json"), key=lambda path: int(path.name.split(".")[1]))


def contract_of_sample(message: StepMessage) -> AnyContract:
    """Of samples of versions that are served no more: the one that still reads their requests."""
    return contract_of(message.kind, message.version) or CATALOGUE[message.kind]


def request_of(sample: Any) -> dict[str, Any]:
    """With the values of the facts that it names."""
    return opened(sample["message"]["request"], sample.get("facts", {}).__getitem__)


def test_every_kind_of_step_has_a_published_sample() -> None:
    assert {path.name.split(".")[0] for path in STEP_SAMPLES} == set(CATALOGUE)
    assert len(STEP_SAMPLES) >= 9


@pytest.mark.parametrize("path", STEP_SAMPLES, ids=lambda path: path.name)
def test_a_published_request_and_result_still_parse(path: Path) -> None:
    sample = read(path)
    message = StepMessage.model_validate(sample["message"])
    manifest = StepManifest.model_validate(sample["manifest"])
    contract = contract_of_sample(message)
    contract.request.model_validate(request_of(sample))
    result = contract.result.model_validate(manifest.result)
    assert {blob.digest for blob in blobs_in(result)} == {blob.digest for blob in manifest.blobs}


@pytest.mark.parametrize("kind", sorted(CATALOGUE))
def test_every_contract_has_a_sample_of_its_version(kind: str) -> None:
    assert read(newest(kind))["message"]["version"] == CATALOGUE[kind].version


@pytest.mark.parametrize("path", STEP_SAMPLES, ids=lambda path: path.name)
def test_identities_have_not_moved(path: Path) -> None:
    """An identity that changes unseen throws every stored result away: raise the contract's version, add a sample."""
    sample = read(path)
    message = StepMessage.model_validate(sample["message"])
    contract = contract_of(message.kind, message.version)
    if contract is None:  # served no more: only the request must still parse
        contract = CATALOGUE[message.kind]
        assert contract.version > message.version
        assert contract.step_id(contract.request.model_validate(request_of(sample))) != message.step_id
    else:
        assert contract.step_id(contract.request.model_validate(request_of(sample))) == message.step_id


def test_every_version_that_is_still_served_has_a_sample() -> None:
    found = {f"{kind}.{read(path)['message']['version']}" for path in STEP_SAMPLES if (kind := path.name.split(".")[0])}
    assert len(EARLIER) == 22
    assert set(EARLIER) <= found


def test_facts_are_named_by_their_content_and_every_named_one_is_there() -> None:
    named = 0
    for path in STEP_SAMPLES:
        sample = read(path)
        facts = sample.get("facts", {})
        assert set(references_in(sample["message"]["request"]).values()) == set(facts), path.name
        assert all(sha256(canonical_json(value)) == digest for digest, value in facts.items()), path.name
        named += len(facts)
    assert named >= 15


def test_messages_with_and_without_a_trace_are_the_same_step() -> None:
    older, newer = (StepMessage.model_validate(read(PUBLISHED / f"write_prompts.{n}.json")["message"]) for n in (1, 2))
    assert older.traceparent is None
    assert newer.traceparent is not None
    assert newer.model_copy(update={"traceparent": None}) == older


@pytest.mark.parametrize("kind", sorted(CATALOGUE))
def test_a_result_from_a_newer_worker_is_read_and_a_request_with_an_unknown_field_is_not(kind: str) -> None:
    sample, contract = read(newest(kind)), CATALOGUE[kind]
    contract.result.model_validate(sample["manifest"]["result"] | {"added_later": 1})
    with pytest.raises(ValueError, match="added_later"):
        contract.request.model_validate(request_of(sample) | {"added_later": 1})


def test_published_reports_still_parse() -> None:
    reports = [REPORTS.validate_python(each) for path in PUBLISHED.glob("reports.*.json") for each in read(path)]
    assert {report.event for report in reports} == {"started", "progressed", "succeeded", "failed"}


def test_published_specs_and_problems_still_parse() -> None:
    specs = [ExperimentSpec.model_validate(read(path)) for path in PUBLISHED.glob("experiment.*.json")]
    problems = [Problem.model_validate(read(path)) for path in PUBLISHED.glob("problem.*.json")]
    assert specs
    assert problems
    assert problems[0].errors[0].pointer == "/arms/1/kind"


def test_every_contract_has_a_served_queue() -> None:
    assert {contract.queue for contract in CATALOGUE.values()} == set(QUEUES)
    assert all(name == contract.name and contract.version >= 1 for name, contract in CATALOGUE.items())
