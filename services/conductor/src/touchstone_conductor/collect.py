"""`python -m touchstone_conductor.collect [--delete] [--grace-hours N]`: removes what nobody needs any more.

It marks what the plans of experiments and upstreams need, then sweeps the bucket. Searches of upstreams that are older
than the grace period go; whoever asks again has them computed again. Which weights of adapted encoders
are needed, TOUCHSTONE_KEEP_WEIGHTS says. Without `--delete` it only says what it would remove. It may be killed at any
point and run beside anything: what is younger than the grace period is never touched, and what somebody comes to need
meanwhile is made again as any other lost object (decisions 0046, 0050)."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from touchstone_contracts.keys import BLOBS, DERIVED, SAVEPOINTS, STEPS, UPLOADS, blob_key, manifest_key
from touchstone_contracts.messages import StepManifest
from touchstone_contracts.values import StepId
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import ObjectStore
from touchstone_runtime.uploads import DOCUMENT
from touchstone_store.database import Store
from touchstone_store.deletion import delete_steps, unowned_steps
from touchstone_store.plan_steps import facts_of_steps
from touchstone_store.searches import delete_searches, old_searches
from touchstone_store.steps import find_rows, pages_of_steps
from touchstone_store.stored_bytes import forget_blobs, note_blobs, noted_among

from touchstone_conductor.commands import opened
from touchstone_conductor.conductor import utc_now
from touchstone_conductor.settings import KeptWeights
from touchstone_conductor.unread_weights import UnreadWeights

PAGE = 500
GRACE_HOURS = 7 * 24.0
"""Above the longest time that a step takes: what it has written is needed once it has finished."""
PREFIXES = (STEPS, BLOBS, SAVEPOINTS, DERIVED, UPLOADS)
"""Manifests first: without its manifest a step is not done, and nobody looks for its blobs. No savepoint is needed
after the grace period: a step that is at work replaces its own all the time. What is derived is computed again.
Of uploads those that never came to their end."""


@dataclass
class Collected:
    """What a collection found."""

    kept: int = 0
    kept_size: int = 0
    """Bytes."""
    young: int = 0
    """Objects that nobody needs, or not yet: within the grace period."""
    removed: int = 0
    removed_size: int = 0
    steps: int = 0
    """Rows of steps that no plan needs."""
    searches: int = 0
    """Of upstreams, older than the grace period."""
    let_go: int = 0
    """Adapted encoders whose weights nobody reads any more."""


@dataclass(frozen=True)
class Collection:
    store: Store
    objects: ObjectStore
    grace: timedelta
    weights: KeptWeights = "chosen"
    delete: bool = False
    now: Callable[[], datetime] = utc_now

    def run(self) -> Collected:
        """Raises Transient where a server is away."""
        found, before = Collected(), self.now() - self.grace
        with self.store.read() as session:
            searches = list(session.scalars(old_searches(before)))
            unowned = unowned_steps(session, without=old_searches(before))
        found.searches = delete_searches(self.store, searches) if self.delete else len(searches)
        found.steps = delete_steps(self.store, unowned) if self.delete else len(unowned)
        artifacts = Artifacts(self.objects)
        spare = UnreadWeights(self.store, artifacts, self.weights, frozenset(unowned)).runs(before)
        needed = self._needed(artifacts, frozenset(unowned), spare, found) | self._whole_uploads()
        for prefix in PREFIXES:
            for stored in self.objects.listed(prefix):
                if stored.key in needed:
                    found.kept += 1
                    found.kept_size += stored.size
                elif stored.modified > before:
                    found.young += 1
                else:
                    found.removed += 1
                    found.removed_size += stored.size
                    if self.delete:
                        self.objects.remove(stored.key)
        return found

    def _needed(
        self, artifacts: Artifacts, unowned: frozenset[StepId], spare: set[StepId], found: Collected
    ) -> set[str]:
        """Keys: the results of all other steps, what these name, and the facts of their requests. `spare`: adaptations
        whose weights are let go."""
        needed = set[str]()
        for page in pages_of_steps(self.store, PAGE):
            steps = [step for step in page if step not in unowned]
            with self.store.read() as session:
                needed |= {blob_key(digest) for digest in facts_of_steps(session, steps)}
            manifests = {step: manifest for step in steps if (manifest := artifacts.manifest(step))}
            unread = {step for step, manifest in manifests.items() if step in spare and manifest.blobs}
            found.let_go += len(unread)
            if self.delete:
                self._let_go(artifacts, unread)
                self._note_sizes([manifest for step, manifest in manifests.items() if step not in unread])
            needed |= {manifest_key(step) for step in steps}
            kept = (manifest for step, manifest in manifests.items() if step not in unread)
            needed |= {blob_key(blob.digest) for manifest in kept for blob in manifest.blobs}
        return needed

    def _whole_uploads(self) -> set[str]:
        keys = [stored.key for stored in self.objects.listed(UPLOADS)]
        whole = {key.removesuffix(DOCUMENT) for key in keys if key.endswith(f"/{DOCUMENT}")}
        return {key for key in keys if key.rpartition("/")[0] + "/" in whole}

    def _let_go(self, artifacts: Artifacts, runs: set[StepId]) -> None:
        for run in runs:
            artifacts.let_go(run)
        with self.store.write() as session:
            forget_blobs(session, runs)

    def _note_sizes(self, manifests: list[StepManifest]) -> None:
        """Of steps that had finished before sizes were kept."""
        with self.store.write() as session:
            steps = [manifest.step_id for manifest in manifests]
            rows, noted = find_rows(session, steps, lock=True), noted_among(session, steps)
            note_blobs(session, [each for each in manifests if each.step_id in rows and each.step_id not in noted])


def words(found: Collected, *, deleted: bool) -> str:
    did = "removed" if deleted else "would remove (--delete does it)"
    return (
        f"{did} {found.removed} objects of {found.removed_size / 2**20:.1f} MiB, {found.steps} steps nobody needs, "
        f"{found.searches} old searches and the weights of {found.let_go} runs that nobody reads; kept {found.kept} "
        f"objects of {found.kept_size / 2**20:.1f} MiB; {found.young} that nobody needs are younger than the grace "
        "period"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delete", action="store_true", help="remove it; without this, only say what would be removed")
    parser.add_argument(
        "--grace-hours", type=float, default=GRACE_HOURS, help="what is younger stays (default: a week)"
    )
    parser.add_argument(
        "--weights", choices=get_args(KeptWeights), help="which weights stay (default: TOUCHSTONE_KEEP_WEIGHTS)"
    )
    options = parser.parse_args()
    grace = timedelta(hours=options.grace_hours)
    with opened() as ours:
        weights = options.weights or ours.settings.keep_weights
        found = Collection(ours.store, ours.objects, grace, weights=weights, delete=options.delete).run()
    print(words(found, deleted=options.delete))
    return 0


if __name__ == "__main__":
    sys.exit(main())
