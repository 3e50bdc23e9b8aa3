"""An upstream image that an experiment trained on is taken down while the system runs: workers make its pools again,
its verdict stays and says so, and nothing holds or shows the image any more."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from support.killing import Bucket
from support.running_stack import fresh_stack, maintain, state_of
from support.tiny_world import tiny_study
from support.waiting import until
from touchstone import Client, ProblemError
from touchstone_contracts.views import ExperimentDetail, ImageView
from touchstone_stack.lifecycle import Stack
from touchstone_stack.state import WORKERS

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld


@pytest.fixture(scope="module")
def own_stack(world: "TinyWorld", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What is taken down is gone for every later test."""
    with fresh_stack(world, tmp_path_factory.mktemp("takedown"), WORKERS) as stack:
        yield stack


@pytest.fixture(scope="module")
def own_client(own_stack: Stack) -> Iterator[Client]:
    with state_of(own_stack).client() as client:
        yield client


def kept(client: Client, experiment: str) -> tuple[ImageView, ...]:
    return client.arm_images(experiment, "retrieved", "shapes", kept=True, limit=200).items


def finished(client: Client, experiment: str) -> ExperimentDetail:
    return client.wait(experiment, timeout=180)


def test_an_image_is_taken_down_in_a_running_system(own_stack: Stack, own_client: Client) -> None:
    client, bucket = own_client, Bucket(own_stack)
    posted, _ = client.post_document(tiny_study())
    finished(client, posted.id)
    results, verdict = client.results(posted.id), client.verdict(posted.id)
    chosen, *others = kept(client, posted.id)
    image = client.image(chosen)
    assert image in b"".join(map(bucket.read, bucket.keys()))

    said = maintain(own_stack, "takedown", f"--image={chosen.id}", "--reason=asked for")
    assert posted.id in said
    assert image not in b"".join(map(bucket.read, bucket.keys()))
    finished(client, posted.id)
    until(lambda: client.upstream("tiny").phase == "succeeded", 120)

    assert {each.id for each in kept(client, posted.id)} == {each.id for each in others}
    assert client.image(kept(client, posted.id)[0]) != image
    with pytest.raises(ProblemError) as refused:
        client.image(chosen)
    assert refused.value.problem.status == 404
    assert client.results(posted.id) == results
    assert client.verdict(posted.id).primary == verdict.primary
    assert "asked for" in client.verdict(posted.id).warnings[-1]
    assert [each.id for takedown in client.takedowns() for each in takedown.experiments] == [posted.id]
    assert "damaged: " not in maintain(own_stack, "scrub")

    clone = client.clone(posted.id, {"seeds": [5, 6]})
    finished(client, clone.id)
    assert client.experiment(clone.id).takedowns == ()
    assert image not in b"".join(map(bucket.read, bucket.keys()))
    assert " 0 steps made again" in maintain(own_stack, "takedown")
