"""A generator worker without a queue, and pools as curation leaves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from touchstone_contracts.curation import CurationCounts
from touchstone_contracts.identity import sha256
from touchstone_contracts.image_sets import ImageSet
from touchstone_contracts.messages import StepManifest, StepMessage, StepReport
from touchstone_contracts.steps import Contract, ImagesCurated, ImagesFound, RequestT, ResultT
from touchstone_contracts.values import Lenient, StepId
from touchstone_generator.pipelines import GeneratorCache
from touchstone_generator.tasks import Tools, handlers
from touchstone_runtime.artifacts import Artifacts, blobs_in
from touchstone_runtime.image_sets import ImageRecord, ImageSetWriter, read_images
from touchstone_runtime.library import Library
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import Progress


class Silence:
    def send(self, report: StepReport) -> None: ...

    def is_unwanted(self, step: str, attempt: int) -> bool:
        return False


class PoolImage(NamedTuple):
    image: bytes
    class_id: int
    caption: str = ""
    kept: bool = True


class GeneratorWorker:
    def __init__(self, library: Path) -> None:
        self.artifacts = Artifacts(MemoryObjects())
        self.tools = Tools(self.artifacts, GeneratorCache(Library(library), torch.device("cpu")))

    def run(self, contract: Contract[RequestT, ResultT], request: RequestT) -> tuple[StepId, ResultT]:
        """Computes and stores. Raises what the handler raises."""
        step = contract.step_id(request)
        message = StepMessage(step_id=step, attempt=1, kind=contract.name, version=contract.version, request={})
        result = handlers.by_kind[contract.name](request, self.tools, Progress(message, Silence()))
        store_result(self.artifacts, step, contract.name, result)
        return step, result

    def pool(self, images: Sequence[PoolImage], name: str = "pool") -> StepId:
        """A curated pool with these rows in this order."""
        return store_pool(self.artifacts, images, name)

    def rows(self, images: ImageSet) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.artifacts.get_table(images.manifest).to_pylist()
        return rows

    def encoded(self, found: ImagesFound) -> list[bytes]:
        table = self.artifacts.get_table(found.images.manifest)
        return list(read_images(self.artifacts, table, found.images.shards))


def store_pool(artifacts: Artifacts, images: Sequence[PoolImage], name: str = "pool") -> StepId:
    """Writes a curated pool with these rows in this order, as the result of a step."""
    writer = ImageSetWriter(artifacts)
    for number, each in enumerate(images):
        record = ImageRecord(
            width=32,
            height=32,
            source_kind="upstream",
            source_key=f"key-{number}",
            class_id=each.class_id,
            caption=each.caption,
            kept=each.kept,
        )
        writer.add(each.image, record)
    counts = CurationCounts(
        requested=0, obtained=0, leaked=0, near_duplicate=0, filtered=0, over_cap=0, kept=len(images)
    )
    step = sha256(name.encode())
    store_result(
        artifacts, step, "curate_images", ImagesCurated(images=writer.finish(), counts=counts, kept_by_class=())
    )
    return step


def store_result(artifacts: Artifacts, step: StepId, kind: str, result: Lenient) -> None:
    artifacts.write_manifest(
        StepManifest(
            step_id=step,
            kind=kind,
            version=1,
            result=result.model_dump(mode="json"),
            blobs=tuple(blobs_in(result)),
            seconds=0,
            cpu_seconds=0,
            worker="test",
        )
    )
