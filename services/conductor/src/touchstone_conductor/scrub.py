"""`python -m touchstone_conductor.scrub`: reads every stored result once, and has what is damaged computed again.

Whatever is used is verified when it is read; this finds what nobody has asked for yet. It reads all bytes that results
name, so it is a process of its own, to be run now and then, beside anything. It may be killed at any point."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from touchstone_contracts.values import Blob, Digest, StepId
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.logs import get_logger
from touchstone_runtime.objects import MissingObject
from touchstone_store.database import Store
from touchstone_store.losses import forget_results
from touchstone_store.plan_steps import facts_of_steps
from touchstone_store.steps import pages_of_steps

from touchstone_conductor.commands import opened
from touchstone_conductor.conductor import utc_now

log = get_logger(__name__)

PAGE = 200
"""Steps between two lines of progress."""


@dataclass
class Scrubbed:
    """What a walk through the store found."""

    steps: int = 0
    blobs: int = 0
    size: int = 0
    """Bytes that were read and compared."""
    damaged: list[Digest] = field(default_factory=list)
    """Blobs that were gone, cut or had other bytes; what had has been removed."""
    repeated: list[StepId] = field(default_factory=list)
    """Steps that are computed again."""
    lost_facts: list[Digest] = field(default_factory=list)
    """Parts of requests that no step makes: posting their experiment or upstream again writes them."""

    @property
    def line(self) -> str:
        return (
            f"{self.steps} steps, {self.blobs} blobs and facts, {self.size / 2**20:.1f} MiB read; "
            f"{len(self.damaged)} damaged, {len(self.repeated)} steps are computed again"
        )


@dataclass
class Scrub:
    store: Store
    artifacts: Artifacts
    now: Callable[[], datetime] = utc_now
    found: Scrubbed = field(default_factory=Scrubbed)
    _sound: dict[Digest, bool] = field(default_factory=dict)
    """By blob: results share shards, and each is read once."""

    def run(self, tell: Callable[[Scrubbed], None] = lambda found: None) -> Scrubbed:
        """Raises Transient where a server is away; what was found until then stays found."""
        for page in pages_of_steps(self.store, PAGE, state="succeeded"):
            lost = [step for step in page if not self._is_whole(step)]
            forget_results(self.store, lost, self.now())
            self.found.repeated += lost
            self._check_facts(page)
            self.found.steps += len(page)
            tell(self.found)
        return self.found

    def _is_whole(self, step: StepId) -> bool:
        manifest = self.artifacts.manifest(step)
        if manifest is None:
            return False
        # All of them are read: every damaged blob is to be found in one walk.
        return sum(not self._is_sound(blob) for blob in manifest.blobs) == 0

    def _is_sound(self, blob: Blob) -> bool:
        if blob.digest not in self._sound:
            try:
                self.found.size += len(self.artifacts.get_blob(blob))
                self._sound[blob.digest] = True
            except MissingObject:
                self._sound[blob.digest] = False
                self.found.damaged.append(blob.digest)
            self.found.blobs += 1
        return self._sound[blob.digest]

    def _check_facts(self, steps: list[StepId]) -> None:
        with self.store.read() as session:
            named = facts_of_steps(session, steps)
        for digest in sorted(named - set(self._sound)):
            try:
                self.artifacts.fact(digest)
                self._sound[digest] = True
            except MissingObject:
                self._sound[digest] = False
                self.found.damaged.append(digest)
                self.found.lost_facts.append(digest)
            self.found.blobs += 1


def main() -> int:
    """Exit code 0: whatever was damaged is computed again; 1: parts of requests were, which must be posted again."""
    with opened() as ours:
        found = Scrub(ours.store, Artifacts(ours.objects)).run(lambda found: print(found.line, flush=True))
    for digest in found.damaged:
        print(f"damaged: {digest}")
    for digest in found.lost_facts:
        print(f"lost, post the experiments and upstreams that need it again: {digest}")
    print(found.line)
    return 1 if found.lost_facts else 0


if __name__ == "__main__":
    sys.exit(main())
