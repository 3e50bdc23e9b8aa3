"""`python -m touchstone_conductor.takedown [--image SHA256] [--key KEY] --reason TEXT`: nothing uses an image any more.

`--key` is the image's key in its source; of a link its URL. Every image set is searched for it. Objects with its bytes
are removed, the steps that made them are computed again without it, and experiments whose results were computed with it
are listed and marked; `--look` only says which. Without an image, all earlier requests are carried out once more: after
a restore, or when steps were at work meanwhile. It may be killed at any point and run again."""

import argparse
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.keys import blob_key
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.problems import Invalid
from touchstone_contracts.takedowns import Takedown, TakenDown
from touchstone_contracts.values import Digest, StepId
from touchstone_contracts.views import Dependant
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.image_sets import covered_images
from touchstone_runtime.objects import MissingObject, ObjectStore
from touchstone_store.database import Store
from touchstone_store.losses import forget_results
from touchstone_store.steps import pages_of_steps
from touchstone_store.takedowns import (
    dependants_of,
    experiments_with,
    mark_steps,
    note_applied,
    readers_of,
    save_takedown,
)

from touchstone_conductor.commands import opened
from touchstone_conductor.conductor import utc_now
from touchstone_conductor.takedown_reach import Reach, reach_of

PAGE = 200
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass
class Holders:
    """Where the images of one takedown were found."""

    kinds: dict[StepId, str] = field(default_factory=dict)
    used: set[StepId] = field(default_factory=set)
    """Those that keep the image, and hand it on."""
    images: set[Digest] = field(default_factory=set)
    shards: set[Digest] = field(default_factory=set)
    """Blobs with the bytes."""


@dataclass
class Applied:
    """What carrying out one takedown did, or would do."""

    takedown: Takedown
    images: set[Digest]
    """Found in stored image sets."""
    steps: int
    """Computed again."""
    dependants: tuple[Dependant, ...]

    @property
    def lines(self) -> list[str]:
        of = self.takedown
        return [
            f"takedown {of.id[:12]} ({of.reason}): {len(self.images)} images found, {self.steps} steps made again",
            *(f"  image: {image}" for image in sorted(self.images)),
            *(f"  computed with it: {each.id} {each.name}" for each in self.dependants),
        ]


@dataclass(frozen=True)
class TakingDown:
    store: Store
    objects: ObjectStore
    now: Callable[[], datetime] = utc_now

    def run(
        self, images: Collection[Digest], keys: Collection[str], reason: str, *, look: bool = False
    ) -> list[Applied]:
        """Records the request and carries out all that there are; without an image those of before. `look`: says what
        it would do, and does nothing. Raises Transient."""
        artifacts = Artifacts(self.objects)
        asked = Takedown.of(images, keys, reason, self.now())
        if look:
            return [self._look_for(artifacts, asked)]
        if images or keys:
            # Before anything is looked for: from now on no step takes it in.
            artifacts.record_takedown(asked)
        return [self._apply(artifacts, takedown) for takedown in artifacts.takedowns()]

    def _look_for(self, artifacts: Artifacts, asked: Takedown) -> Applied:
        takedown, found = self._search(artifacts, asked)
        reach = self._reach(artifacts, found)
        with self.store.read() as session:
            return Applied(takedown, found.images, len(reach.remade), tuple(experiments_with(session, reach.marked)))

    def _apply(self, artifacts: Artifacts, takedown: Takedown) -> Applied:
        takedown, found = self._search(artifacts, takedown)
        artifacts.record_takedown(takedown)
        reach = self._reach(artifacts, found)
        with self.store.write() as session:
            save_takedown(session, takedown)
            mark_steps(session, takedown.id, reach.marked)
        # Bytes before manifests, without which a step is not searched again. Where this ends half-way, what is gone is
        # a lost result like any other.
        for shard in found.shards:
            self.objects.remove(blob_key(shard))
        for step in reach.remade:
            artifacts.forget(step)
        forget_results(self.store, reach.remade, self.now())
        if reach.remade:
            with self.store.write() as session:
                note_applied(session, takedown.id, self.now())
        with self.store.read() as session:
            dependants = dependants_of(session, [takedown.id]).get(takedown.id, ())
        return Applied(takedown, found.images, len(reach.remade), tuple(dependants))

    def _reach(self, artifacts: Artifacts, found: Holders) -> Reach:
        with self.store.read() as session:
            reach = reach_of(found.kinds, found.used, lambda steps: readers_of(session, steps))
        reach.remade |= self._needing(artifacts, found.shards)
        return reach

    def _search(self, artifacts: Artifacts, takedown: Takedown) -> tuple[Takedown, Holders]:
        """The request with the images that were found under its keys: their bytes may lie under others too."""
        while True:
            found = self._holders(artifacts, takedown)
            if found.images <= set(takedown.images):
                return takedown, found
            takedown = takedown.with_images(found.images)

    def _holders(self, artifacts: Artifacts, takedown: Takedown) -> Holders:
        found, wanted = Holders(), TakenDown.of([takedown])
        for page in pages_of_steps(self.store, PAGE):
            for step in page:
                manifest = artifacts.manifest(step)
                if manifest is not None:
                    _look(found, manifest, wanted, artifacts)
        return found

    def _needing(self, artifacts: Artifacts, shards: Collection[Digest]) -> set[StepId]:
        """Steps whose results need one of the blobs, for other images in it."""
        pages = pages_of_steps(self.store, PAGE) if shards else ()
        manifests = (artifacts.manifest(step) for page in pages for step in page)
        return {
            manifest.step_id
            for manifest in manifests
            if manifest is not None and not {blob.digest for blob in manifest.blobs}.isdisjoint(shards)
        }


def _look(found: Holders, manifest: StepManifest, wanted: TakenDown, artifacts: Artifacts) -> None:
    step, result = manifest.step_id, manifest.result
    if not wanted.images.isdisjoint(result.get("image_ids", ())):  # of a generator that was tuned on it
        found.kinds[step] = manifest.kind
        found.used.add(step)
    if not isinstance(result.get("images"), dict):
        return
    try:
        covered = covered_images(artifacts, ImageSet.model_validate(result["images"]), wanted)
    except MissingObject:  # computed again when somebody needs it, and not with what is recorded by then
        return
    if covered:
        found.kinds[step] = manifest.kind
        found.images |= {image.id for image in covered}
        found.shards |= {image.shard for image in covered if image.shard}
    if any(image.kept for image in covered):
        found.used.add(step)


def _require_digests(images: Sequence[str]) -> None:
    for image in images:
        if not DIGEST.fullmatch(image):
            raise Invalid(f"{image!r} is not the sha256 of an image: 64 digits 0-9, a-f; an image's page shows it")


def main() -> int:
    """Exit code 2: the arguments are at fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", action="append", default=[], help="sha256 of its encoded bytes; may be repeated")
    parser.add_argument("--key", "--url", action="append", default=[], help="its key in the source, or its URL")
    parser.add_argument("--reason", default="", help="who asked for it, and why")
    parser.add_argument("--look", action="store_true", help="only say which images and experiments it concerns")
    options = parser.parse_args()
    if (options.image or options.key) and not options.look and not options.reason.strip():
        parser.error("say with --reason who asked for it, and why")
    reason = options.reason or "not said"
    try:
        _require_digests(options.image)
        with opened() as ours:
            for applied in TakingDown(ours.store, ours.objects).run(
                options.image, options.key, reason, look=options.look
            ):
                print("\n".join(applied.lines))
    except Invalid as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
