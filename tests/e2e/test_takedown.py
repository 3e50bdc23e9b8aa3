"""An upstream image that an experiment trained on is taken down while the system runs: workers make its pools again,
its verdict stays and says so, and nothing holds or shows the image any more."""

from typing import TYPE_CHECKING, Any

import pytest
from support.killing import Bucket
from support.running_stack import maintain
from support.tiny_images import tiny_upstream
from support.tiny_world import UPSTREAM_IMAGES, tiny_study
from support.waiting import until
from touchstone import Client, ProblemError
from touchstone_contracts.views import ExperimentDetail, ImageView
from touchstone_stack.lifecycle import Stack

if TYPE_CHECKING:
    from support.tiny_world import TinyWorld


UPSTREAM = "elsewhere"


@pytest.fixture(scope="module")
def study(world: "TinyWorld", client: Client) -> dict[str, Any]:
    """On an upstream of its own, which the generator `stranger` was trained on: what is taken down is gone for every
    other test."""
    client.register("upstreams", tiny_upstream(world.library, UPSTREAM, images=UPSTREAM_IMAGES, seed=7))
    none, retrieved, synthetic = tiny_study()["arms"]
    return tiny_study(
        name="asked for", upstream=UPSTREAM, arms=[none, retrieved, synthetic | {"generator": "stranger"}]
    )


def kept(client: Client, experiment: str) -> tuple[ImageView, ...]:
    return client.arm_images(experiment, "retrieved", "shapes", kept=True, limit=200).items


def finished(client: Client, experiment: str) -> ExperimentDetail:
    return client.wait(experiment, timeout=180)


def test_an_image_is_taken_down_in_a_running_system(stack: Stack, client: Client, study: dict[str, Any]) -> None:
    bucket = Bucket(stack)
    posted, _ = client.post_document(study)
    finished(client, posted.id)
    results, verdict = client.results(posted.id), client.verdict(posted.id)
    chosen, *others = kept(client, posted.id)
    image = client.image(chosen)
    assert image in b"".join(map(bucket.read, bucket.keys()))

    said = maintain(stack, "takedown", f"--image={chosen.id}", "--reason=asked for")
    assert posted.id in said
    assert image not in b"".join(map(bucket.read, bucket.keys()))
    finished(client, posted.id)
    until(lambda: client.upstream(UPSTREAM).phase == "succeeded", 120)

    assert {each.id for each in kept(client, posted.id)} == {each.id for each in others}
    assert client.image(kept(client, posted.id)[0]) != image
    with pytest.raises(ProblemError) as refused:
        client.image(chosen)
    assert refused.value.problem.status == 404
    assert client.results(posted.id) == results
    assert client.verdict(posted.id).primary == verdict.primary
    assert "asked for" in client.verdict(posted.id).warnings[-1]
    assert [each.id for takedown in client.takedowns() for each in takedown.experiments] == [posted.id]
    assert "damaged: " not in maintain(stack, "scrub")

    clone = client.clone(posted.id, {"seeds": [5, 6]})
    finished(client, clone.id)
    assert client.experiment(clone.id).takedowns == ()
    assert image not in b"".join(map(bucket.read, bucket.keys()))
    assert " 0 steps made again" in maintain(stack, "takedown")
