"""SIGKILL to the processes of a running experiment, each in the middle of its work."""

import os
import signal
from dataclasses import dataclass, field

from minio import Minio
from touchstone import Client
from touchstone_contracts.keys import manifest_key
from touchstone_contracts.views import ExperimentDetail
from touchstone_stack.lifecycle import Stack
from touchstone_stack.supervision import Supervisor

# At the first start of each kind of work, SIGKILL to a process it needs.
VICTIMS = {
    "embed_images": ("retrieval",),
    "generate_images": ("generator",),
    "adapt_encoder": ("trainer", "trainer-2"),
    "evaluate_encoder": ("conductor",),
}


@dataclass
class Killings:
    """What was hit: process to the pid it had, and step to the attempt that was cut short."""

    killed: dict[str, int] = field(default_factory=dict)
    interrupted: dict[str, int] = field(default_factory=dict)

    def kinds(self) -> set[str]:
        """Names of the processes, the second of a kind counted as its first."""
        return {process.removesuffix("-2") for process in self.killed}

    def repeated(self, ended: ExperimentDetail) -> set[str]:
        """Kinds of the steps that needed another attempt."""
        return {step.kind for step in ended.step_list if step.attempt > self.interrupted.get(step.id, step.attempt)}


def forget_results(stack: Stack, finished: ExperimentDetail) -> int:
    """Removes the result of every step of an experiment, so that its clone computes them all; how many there were."""
    state = stack.folder.read_state()
    assert state is not None
    store = state.object_store()
    client = Minio(
        store.s3_endpoint,
        access_key=store.s3_access_key,
        secret_key=store.s3_secret_key.get_secret_value(),
        secure=False,
    )
    for step in finished.step_list:
        client.remove_object(store.s3_bucket, manifest_key(step.id))
    return len(finished.step_list)


def kill_in_the_middle(supervisor: Supervisor, client: Client, experiment: str) -> Killings:
    """Follows a running experiment and kills one process of each kind as soon as it is at work."""
    victims, killings = dict(VICTIMS), Killings()
    for event in client.events(experiment):
        kind = event.data.get("kind")
        # The untouched encoder is evaluated while the rest has hardly begun: too early for the conductor.
        if event.event == "step.started" and kind in victims and "/none/" not in event.data["role"]:
            process = _at_work(supervisor, victims.pop(kind), event.data["worker"])
            killings.killed[process] = supervisor.pid_of(process)
            os.kill(killings.killed[process], signal.SIGKILL)
            killings.interrupted[event.data["step"]] = event.data["attempt"]
        if not victims:
            break
    return killings


def _at_work(supervisor: Supervisor, processes: tuple[str, ...], worker: str) -> str:
    """Of processes that serve the same queue, the one that reported as `worker` (its name ends with its pid)."""
    doing = [process for process in processes if worker.endswith(f":{supervisor.pid_of(process)}")]
    return doing[0] if doing else processes[0]
