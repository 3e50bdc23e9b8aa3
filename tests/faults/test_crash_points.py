"""Every process dies once before and once after everything that others can see of it: each write of an object, each
report and message, each transaction that changes a step or a plan. What is left behind never changes a result."""

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx
from support.amounts import Amounts, Tally
from support.killing import Bucket, forget_bytes
from support.running_stack import environment_of
from support.trials import Trials
from support.waiting import until
from touchstone import ProblemError
from touchstone_contracts.keys import blob_key, manifest_key
from touchstone_contracts.messages import StepManifest

SIDES = ("before", "after")
POSTING = ("plan.created", "plan.queued.running")
RUNNING = (
    "message.sent", "message.taken", "report.started", "report.progressed", "report.succeeded", "put.blobs",
    "put.savepoints", "remove.savepoints", "put.steps", "step.waiting.leased", "step.leased.leased",
    "step.leased.succeeded", "step.leased.waiting", "plan.running.succeeded",
)  # fmt: skip
HEALING = ("remove.blobs", "report.failed", "step.succeeded.waiting", "plan.succeeded.running")
"""When bytes under a finished step are spoilt."""
FAILING = (("report.failed", "plan.running.failed"), ("step.leased.failed",))
RETRYING = (("plan.failed.running",), ("step.failed.waiting",))
"""What one transaction does needs two of them, because a process dies once."""
CANCELLING = ("plan.running.cancelled",)
RESUMING = ("plan.cancelled.running",)
DELETING = ("plan.deleted",)
COLLECTING = ("steps.deleted", "remove.steps", "remove.blobs")
RECEIVED = "reports.received.after"
"""A point without a before: reports are gone from the list and not yet applied."""


def both_sides(points: Iterable[str]) -> list[str]:
    return [f"{point}.{side}" for point in points for side in SIDES]


class Crashes:
    def __init__(self, folder: Path, dice: random.Random, most: int) -> None:
        self._folder, self._dice, self._most = folder, dice, most
        self.armed = 0
        for left in folder.iterdir():
            left.unlink()

    def arm(self, found: list[str]) -> list[str]:
        """All of them, or so many of them."""
        chosen = found if len(found) <= self._most else self._dice.sample(found, self._most)
        for point in chosen:
            (self._folder / point).touch()
        self.armed += len(chosen)
        return chosen

    def left(self) -> set[str]:
        """Where nobody came by yet."""
        return {path.name for path in self._folder.iterdir() if not path.name.endswith(".died")}

    def require_all_reached(self, within: float = 240) -> None:
        try:
            until(lambda: not self.left(), within)
        except AssertionError:
            raise AssertionError(f"nobody died at {sorted(self.left())}") from None


def killed_by_signal(trials: Trials) -> int:
    """Processes of the stack that ended by SIGKILL, which is exit code 137 to a shell."""
    return len(re.findall("terminated by SIGKILL", (trials.stack.folder.path / "supervisord.log").read_text()))


def test_dying_before_and_after_everything_that_a_run_writes(
    faulted: Trials, seed: int, amounts: Amounts, counted: Tally
) -> None:
    crashes = Crashes(faulted.crashes, random.Random(seed), amounts.crash_points)
    died = killed_by_signal(faulted)
    assert forget_bytes(faulted.stack, faulted.first, {"generate_images", "adapt_encoder"}) >= 4
    # All before posting: what was posted may be done before a gateway that died twice answers again.
    crashes.arm(both_sides(POSTING))
    crashes.arm([*both_sides(RUNNING), RECEIVED])
    experiment = faulted.again("dying")
    faulted.require_undisturbed(experiment, within=900)
    crashes.require_all_reached(within=1)
    assert killed_by_signal(faulted) - died == crashes.armed
    counted(f"seed {seed}: died at {crashes.armed} points of posting and running")


def test_dying_while_what_was_spoilt_heals(faulted: Trials, seed: int, amounts: Amounts, counted: Tally) -> None:
    crashes = Crashes(faulted.crashes, random.Random(seed), amounts.crash_points)
    finished = faulted.require_undisturbed(faulted.again("to be spoilt"))
    bucket = Bucket(faulted.stack)
    for step in finished.step_list:
        if step.kind == "curate_images":
            for blob in StepManifest.model_validate_json(bucket.read(manifest_key(step.id))).blobs:
                bucket.spoil(blob_key(blob.digest))
        elif step.kind in ("adapt_encoder", "evaluate_encoder", "judge_experiment"):
            bucket.client.remove_object(bucket.name, manifest_key(step.id))
    crashes.arm(both_sides(HEALING))
    experiment = faulted.posted({"name": f"dying while healing {seed}"})
    faulted.require_undisturbed(experiment, within=600)
    crashes.require_all_reached(within=1)
    counted(f"seed {seed}: died at {crashes.armed} points of healing")


def test_dying_while_failing_retrying_cancelling_and_going_on(
    faulted: Trials, seed: int, amounts: Amounts, counted: Tally
) -> None:
    crashes = Crashes(faulted.crashes, random.Random(seed), amounts.crash_points)
    generator = faulted.stack.layout.library / "models" / "tiny-diffusion"
    hidden = generator.with_name("hidden")
    shutil.move(generator, hidden)
    try:
        faulted.supervisor.stop("generator")  # it may remember the model
        faulted.supervisor.start("generator")
        crashes.arm(both_sides(FAILING[0]))
        experiment = faulted.again("dying while failing")
        assert faulted.finished(experiment, within=600).phase == "failed"
        crashes.require_all_reached()
        crashes.arm(both_sides([*RETRYING[0], *FAILING[1]]))
        until(lambda: retried(faulted, experiment), within=120)
        crashes.require_all_reached()
        until(lambda: faulted.client.experiment(experiment).phase == "failed", within=600)
    finally:
        shutil.move(hidden, generator)
    # Earlier experiments need the same steps, so a cancelled one may end all the same: not while nobody trains.
    with faulted.stopped("trainer", "trainer-2"):
        crashes.arm(both_sides([*RETRYING[1], *CANCELLING]))
        until(lambda: retried(faulted, experiment), within=120)
        until(lambda: cancelled(faulted, experiment), within=120)
        crashes.require_all_reached()
        crashes.arm(both_sides(RESUMING))
        until(lambda: retried(faulted, experiment), within=120)
        crashes.require_all_reached()
    faulted.require_undisturbed(experiment, within=600)
    counted(f"seed {seed}: died at {crashes.armed} points of failing, retrying, cancelling and going on")


def retried(trials: Trials, experiment: str) -> bool:
    """The gateway may die before or after it did it; then there is nothing to retry any more."""
    with suppress(httpx.HTTPError, ProblemError):
        if trials.client.experiment(experiment).phase in ("failed", "cancelled"):
            trials.client.retry(experiment)
        return trials.client.experiment(experiment).phase in ("queued", "running", "succeeded")
    return False


def cancelled(trials: Trials, experiment: str) -> bool:
    with suppress(httpx.HTTPError):
        return trials.client.cancel(experiment).phase == "cancelled"
    return False


def test_dying_while_experiments_are_deleted_and_collected(
    faulted: Trials, seed: int, amounts: Amounts, counted: Tally
) -> None:
    crashes = Crashes(faulted.crashes, random.Random(seed), amounts.crash_points)
    finished = faulted.require_undisturbed(faulted.again("to be deleted"))
    extra = faulted.client.clone(finished.id, {"name": f"extra {seed}", "sizes": [8]})
    faulted.client.wait(extra.id, timeout=300)
    crashes.arm(both_sides(DELETING))
    with suppress(ProblemError, httpx.HTTPError):  # 404: it was deleted, and then the gateway died
        faulted.client.delete(extra.id)
    crashes.require_all_reached()
    collecting = both_sides(COLLECTING)
    crashes.arm(collecting)
    ends = collect_until_done(faulted)
    crashes.require_all_reached(within=1)
    assert ends.count(-9) == len(collecting) if amounts.crash_points >= len(collecting) else ends
    assert ends[-1] == 0
    again = faulted.posted({"name": f"after a collection {seed}"})
    faulted.require_undisturbed(again, within=300)
    counted(f"seed {seed}: died at {crashes.armed} points of deleting and collecting")


def collect_until_done(trials: Trials) -> list[int]:
    """Exit codes."""
    command = [sys.executable, "-m", "touchstone_conductor.collect", "--grace-hours", "0", "--delete"]
    environment = environment_of(trials.stack)
    ends: list[int] = []
    while not ends or ends[-1] != 0:
        assert len(ends) < 20, ends
        ends.append(subprocess.run(command, env=environment, capture_output=True, check=False).returncode)
    return ends
