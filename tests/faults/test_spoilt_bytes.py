"""Bytes in the object store become others of the same length, or nobody can reach it: nothing is trained on or shown
from wrong bytes, and what was spoilt or away heals by itself."""

import re

import pytest
from support.amounts import Amounts, Tally
from support.killing import Bucket, forget_results
from support.running_stack import asking, maintain, state_of
from support.tiny_world import tiny_study
from support.waiting import until
from touchstone import Client
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.views import ExperimentDetail, Results
from touchstone_stack.lifecycle import Stack

RUNS = frozenset({"adapt_encoder", "evaluate_encoder", "judge_experiment"})
SOURCES = frozenset({"ingest_images", "generate_images"})


@pytest.fixture(scope="module")
def undisturbed(client: Client, amounts: Amounts) -> tuple[ExperimentDetail, Results]:
    experiment, _ = client.post_document(tiny_study(generated=amounts.spoilt_images, name="sound"))
    detail = client.wait(experiment.id, timeout=120)
    return detail, client.results(experiment.id)


def steps_of(finished: ExperimentDetail, kind: str) -> list[str]:
    return [step.id for step in finished.step_list if step.kind == kind]


def scrub(stack: Stack) -> set[str]:
    """The digests of what it finds damaged."""
    said = maintain(stack, "scrub")
    assert "MiB read" in said
    return set(re.findall("^damaged: (.*)$", said, re.MULTILINE))


def blob_digest(key: str) -> str:
    return key.rpartition("/")[2]


def test_images_that_became_others_are_made_again_and_never_trained_on(
    stack: Stack,
    client: Client,
    undisturbed: tuple[ExperimentDetail, Results],
    amounts: Amounts,
    counted: Tally,
) -> None:
    finished, results = undisturbed
    bucket = Bucket(stack)
    shards = {shard for kind in SOURCES for step in steps_of(finished, kind) for shard in bucket.shards_of(step)}
    sound = {shard: bucket.read(shard) for shard in shards}
    spoilt = sum(bucket.spoil_images(shard) for shard in shards)
    assert spoilt >= amounts.spoilt_images
    counted(f"{spoilt} images of {len(shards)} shards became others of the same length")
    # Those that remember decoded images would read none.
    for worker in ("trainer", "trainer-2"):
        stack.supervisor().stop(worker)
        stack.supervisor().start(worker)
    assert forget_results(stack, finished, RUNS) >= 10
    clone = client.clone(finished.id, {"name": "with spoilt images"})
    assert clone.steps.reused > 0
    client.wait(clone.id, timeout=300)
    assert client.results(clone.id).digest == results.digest
    unread = {shard for shard in shards if bucket.read(shard) != sound[shard]}
    assert len(unread) < len(shards)
    assert scrub(stack) == {blob_digest(shard) for shard in unread}
    client.wait(clone.id, timeout=300)
    assert {shard: bucket.read(shard) for shard in shards} == sound


def test_a_blob_that_became_another_heals_every_experiment_that_shares_its_step(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results]
) -> None:
    finished, results = undisturbed
    bucket = Bucket(stack)
    steps = [*steps_of(finished, "embed_images")[:1], *steps_of(finished, "curate_images")[:1]]
    spoilt = [
        blob_key(blob.digest)
        for step in steps
        for blob in StepManifest.model_validate_json(bucket.read(manifest_key(step))).blobs[:1]
    ]
    assert len(spoilt) == 2
    for key in spoilt:
        bucket.spoil(key)
    assert forget_results(stack, finished, RUNS) >= 10
    clone = client.clone(finished.id, {"name": "with spoilt blobs"})
    client.wait(clone.id, timeout=300)
    assert client.results(clone.id).digest == results.digest


def test_a_gallery_shows_no_image_under_the_name_of_another(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results]
) -> None:
    finished, _ = undisturbed
    http = asking(state_of(stack))
    page = http.get(f"/v1/experiments/{finished.id}/arms/synthetic/images?limit=50").json()
    url = page["items"][0]["url"]
    before = http.get(url)
    assert before.status_code == 200
    bucket = Bucket(stack)
    for step in steps_of(finished, "generate_images"):
        for shard in bucket.shards_of(step):
            bucket.spoil_images(shard)
    answer = http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (503, "healing")
    client.wait(finished.id, timeout=300)
    assert http.get(url).content == before.content


def test_an_object_store_that_goes_away_in_the_middle_is_waited_for(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results]
) -> None:
    finished, results = undisturbed
    assert forget_results(stack, finished) == finished.steps.total
    clone = client.clone(finished.id, {"name": "without an object store for a while"})
    next(event for event in client.events(clone.id) if event.event == "step.started")
    supervisor = stack.supervisor()
    supervisor.stop("s3")
    try:
        waiting = until(lambda: client.experiment(clone.id).outages, within=60)
        assert [outage.code for outage in waiting] == ["object_store"]
    finally:
        supervisor.start("s3")
    ended = client.wait(clone.id, timeout=300)
    assert ended.outages == ()
    assert client.results(clone.id).digest == results.digest


def test_weights_that_were_let_go_are_trained_again_to_the_same_results(
    stack: Stack, client: Client, undisturbed: tuple[ExperimentDetail, Results]
) -> None:
    finished, results = undisturbed
    bucket = Bucket(stack)
    weights = {bucket.result(step)["weights"]["digest"] for step in steps_of(finished, "adapt_encoder")}
    said = maintain(stack, "collect", "--delete", "--grace-hours=0", TOUCHSTONE_KEEP_WEIGHTS="none")
    [let_go] = map(int, re.findall(r"the weights of (\d+) runs", said))
    assert let_go >= len(weights) == 8, "those of other experiments too"
    assert bucket.digests().isdisjoint(weights)
    assert scrub(stack) == set()
    assert forget_results(stack, finished, RUNS - {"adapt_encoder"}) >= 10
    clone = client.clone(finished.id, {"name": "without weights"})
    client.wait(clone.id, timeout=300)
    assert client.results(clone.id).digest == results.digest
    assert bucket.digests() >= weights
