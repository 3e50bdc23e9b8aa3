"""Processes die or stand still in the middle of an experiment: it ends with the same results all the same."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

from minio.error import S3Error
from support.amounts import Amounts, Tally
from support.killing import kill_in_the_middle
from support.running_stack import environment_of
from support.trials import Trials
from support.waiting import until
from urllib3.exceptions import HTTPError

KILLED = ("retrieval", "generator", "trainer", "trainer-2", "judge", "conductor", "api", "valkey", "s3")
LEASE_SECONDS = 4
MOST_EXPERIMENTS = 10
"""Of support.running_stack.QUICK_RECOVERY."""


def test_every_process_killed_in_the_middle_of_its_work_changes_no_result(faulted: Trials) -> None:
    experiment = faulted.again("killed")
    killings = kill_in_the_middle(faulted.supervisor, faulted.client, experiment)
    assert killings.kinds() == {"retrieval", "generator", "trainer", "conductor"}
    ended = faulted.require_undisturbed(experiment)
    assert all(faulted.supervisor.pid_of(process) not in (0, pid) for process, pid in killings.killed.items())
    assert killings.repeated(ended) >= {"generate_images", "adapt_encoder"}, "work of seconds was done again"


def test_processes_killed_at_random_again_and_again_change_no_result(
    faulted: Trials, seed: int, amounts: Amounts, counted: Tally
) -> None:
    dice = random.Random(seed)
    killed, experiments = dict.fromkeys(KILLED, 0), 0
    experiment = ""
    while sum(killed.values()) < amounts.kills:
        if not experiment or faulted.ended(experiment):
            if experiment:
                faulted.require_undisturbed(experiment)
            experiment, experiments = started(faulted), experiments + 1
        time.sleep(dice.uniform(0.0, 2.0))  # the moment is what is random
        process = dice.choice(KILLED)
        if faulted.kill(process):
            killed[process] += 1
    ended = faulted.require_undisturbed(experiment)
    seen = faulted.oracle.require_sound()
    counted(f"seed {seed}: {sum(killed.values())} kills in {experiments} experiments, {killed}")
    counted(f"{seen.leases} leases, {seen.commits} commits, {seen.plans} plans")
    assert ended.steps.succeeded == ended.steps.total


def started(faulted: Trials) -> str:
    """The object store may be away."""

    def again() -> str | None:
        with suppress(S3Error, HTTPError, OSError):
            return faulted.again("killed at random")
        return None

    return until(again, within=120)


def test_a_worker_that_stands_still_for_two_leases_and_goes_on_does_no_harm(faulted: Trials) -> None:
    experiment = faulted.again("frozen")
    worker = faulted.at_work(experiment, "adapt_encoder")
    frozen = int(worker.rpartition(":")[2])
    os.kill(frozen, signal.SIGSTOP)
    try:
        before = faulted.oracle.require_sound().leases
        time.sleep(2 * LEASE_SECONDS)  # the fault itself
        until(lambda: faulted.oracle.require_sound().leases > before, within=60)
    finally:
        os.kill(frozen, signal.SIGCONT)
    ended = faulted.require_undisturbed(experiment)
    assert max(step.attempt for step in ended.step_list if step.kind == "adapt_encoder") > 1


def test_two_conductors_at_once_hand_out_nothing_twice(faulted: Trials) -> None:
    command, said = [sys.executable, "-m", "touchstone_conductor"], faulted.stack.folder.path / "second-conductor.log"
    with said.open("wb") as log:
        second = subprocess.Popen(command, env=environment_of(faulted.stack), stdout=log, stderr=log)
    try:
        for experiments in range(1, MOST_EXPERIMENTS + 1):
            ended = faulted.require_undisturbed(faulted.again("two conductors"))
            assert ended.steps.succeeded == ended.steps.total == 20
            # On a busy machine the first is over before the second conductor is up.
            if experiments > 1 and "step.sent" in said.read_text():
                break
        assert second.poll() is None
    finally:
        second.terminate()
        second.wait(30)
    assert "step.sent" in said.read_text(), "the second one had nothing to do"
