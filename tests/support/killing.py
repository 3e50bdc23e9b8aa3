"""What may happen to a running system: processes killed in the middle of their work, results lost, bytes spoilt."""

import io
import json
import os
import signal
import tarfile
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from minio import Minio
from touchstone import Client
from touchstone_contracts.keys import BLOBS, blob_key, manifest_key
from touchstone_contracts.messages import StepManifest
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


def forget_results(stack: Stack, finished: ExperimentDetail, kinds: Collection[str] | None = None) -> int:
    """Removes the result of every step of an experiment, or of those of some kinds, so that its clone computes them
    again; how many there were."""
    bucket = Bucket(stack)
    forgotten = [step for step in finished.step_list if kinds is None or step.kind in kinds]
    for step in forgotten:
        bucket.client.remove_object(bucket.name, manifest_key(step.id))
    return len(forgotten)


def forget_bytes(stack: Stack, finished: ExperimentDetail, kinds: Collection[str]) -> int:
    """Also removes what these steps wrote, which is theirs alone; how many blobs there were."""
    bucket = Bucket(stack)
    steps = [step.id for step in finished.step_list if step.kind in kinds]
    blobs = {
        blob.digest
        for step in steps
        for blob in StepManifest.model_validate_json(bucket.read(manifest_key(step))).blobs
    }
    for digest in blobs:
        bucket.client.remove_object(bucket.name, blob_key(digest))
    return len(blobs)


class Bucket:
    """The object store of a running stack, past everything that guards it."""

    def __init__(self, stack: Stack) -> None:
        state = stack.folder.read_state()
        assert state is not None
        store = state.object_store()
        self.name = store.s3_bucket
        self.client = Minio(
            store.s3_endpoint,
            access_key=store.s3_access_key,
            secret_key=store.s3_secret_key.get_secret_value(),
            secure=False,
        )

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(self.name, key).read())

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(self.name, key, io.BytesIO(data), len(data))

    def keys(self, prefix: str = "") -> list[str]:
        return [stored.object_name for stored in self.client.list_objects(self.name, prefix=prefix, recursive=True)]

    def digests(self) -> set[str]:
        """Of all blobs."""
        return {key.rpartition("/")[2] for key in self.keys(BLOBS)}

    def result(self, step: str) -> Any:
        """Of a finished step, as JSON."""
        return json.loads(self.read(manifest_key(step)))["result"]

    def shards_of(self, step: str) -> list[str]:
        """Keys of the shards that hold the images of a finished step."""
        return [blob_key(shard["digest"]) for shard in self.result(step)["images"]["shards"]]

    def spoil_images(self, shard: str) -> int:
        """Every image inside a shard becomes another of the same length; how many there were."""
        data = bytearray(self.read(shard))
        with tarfile.open(fileobj=io.BytesIO(bytes(data))) as tar:
            images = [member for member in tar if not member.name.endswith(".txt")]
        for image in images:
            middle = image.offset_data + image.size // 2
            data[middle] ^= 1
        self.write(shard, bytes(data))
        return len(images)

    def spoil(self, key: str) -> None:
        """One bit of one byte."""
        data = bytearray(self.read(key))
        data[len(data) // 2] ^= 1
        self.write(key, bytes(data))


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
