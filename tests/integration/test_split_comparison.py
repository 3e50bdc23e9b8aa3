"""Near-duplicates across and within the splits of a target are found by a real encoder, through the worker."""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from support.mini_encoders import MINIVERSE, as_jpeg, pictures
from support.sent_reports import SentReports
from touchstone_contracts.catalogue import ParquetFile, SourceFiles
from touchstone_contracts.messages import StepFailed, StepMessage
from touchstone_contracts.steps import (
    COMPARE_SPLITS,
    EMBED_IMAGES,
    INGEST_IMAGES,
    AlikeImages,
    CompareSplits,
    Contract,
    EmbeddedShard,
    EmbedImages,
    IngestImages,
    ModelRef,
    SplitsCompared,
)
from touchstone_encoders.loading import EncoderCache
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.tasks import handlers
from touchstone_retrieval.tools import Tools
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest, folder_digest
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import StepRunner

COSINE = 0.95
"""Of mini-clip. Two pictures of these rows reach 0.52 at most, and a picture and its copy 0.97 at least."""
ROWS = range(12)
Rows = Sequence[tuple[bytes, int]]
"""Each image and its class."""


class Worker:
    """A retrieval worker with memory for an object store and mini-clip of the repository."""

    def __init__(self, folder: Path) -> None:
        self.library = folder / "library"
        self.library.mkdir()
        worker_library, self.artifacts = Library(self.library), Artifacts(MemoryObjects())
        self.index = QdrantEdgeIndex(folder / "index")
        tools = Tools(self.artifacts, worker_library, EncoderCache(Library(MINIVERSE), torch.device("cpu")), self.index)
        self.reports = SentReports()
        self.runner = StepRunner(handlers, tools, self.artifacts, self.reports, WorkerMetrics(), "retrieval@test", 60)
        digest = folder_digest(MINIVERSE / "models/mini-clip")
        self.model = ModelRef(model="library:models/mini-clip", digest=digest)

    def run(self, contract: Contract[Any, Any], request: Any) -> str:
        """The step's id, once it has succeeded."""
        step, payload = contract.step_id(request), request.model_dump(mode="json")
        self.runner.run(
            StepMessage(step_id=step, attempt=1, kind=contract.name, version=contract.version, request=payload)
        )
        last = self.reports.sent[-1]
        assert not isinstance(last, StepFailed), f"{last.problem.detail}\n{last.log_tail}"
        return step

    def split(self, name: str, *files: Rows) -> EmbeddedShard:
        """Of several files, ingested and embedded."""
        described = []
        for number, rows in enumerate(files):
            path = self.library / f"{name}-{number}.parquet"
            pq.write_table(pa.Table.from_pylist([{"image": image, "label": label} for image, label in rows]), path)
            location = f"library:{path.name}"
            described.append(ParquetFile(location=location, digest=file_digest(path), images=len(rows)))
        images = self.run(INGEST_IMAGES, IngestImages(source=SourceFiles(files=tuple(described)), classes=3))
        embedded = self.run(EMBED_IMAGES, EmbedImages(images=images, encoder=self.model))
        return EmbeddedShard(images=images, embeddings=embedded)

    def compared(self, splits: Mapping[str, EmbeddedShard]) -> SplitsCompared:
        request = CompareSplits(splits=dict(splits), cosine=COSINE)
        return self.artifacts.result(COMPARE_SPLITS, self.run(COMPARE_SPLITS, request))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    torch.set_num_threads(1)
    found = Worker(tmp_path)
    yield found
    found.index.close()


def stored_again(row: int) -> bytes:
    """The same picture as a JPEG: other bytes, nearly the same pixels."""
    buffer = io.BytesIO()
    as_jpeg(90)(Image.open(io.BytesIO(pictures().images[row])).convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()


def labelled(rows: Sequence[int], *more: tuple[bytes, int]) -> Rows:
    return [*((pictures().images[row], row % 3) for row in rows), *more]


def test_planted_copies_are_found_across_splits_and_classes_and_nothing_else(worker: Worker) -> None:
    test = worker.split("test", labelled(range(0, 2)), labelled(range(2, 4)))
    validation = worker.split("validation", labelled(range(4, 6)), labelled(range(6, 8), (stored_again(1), 1)))
    train = worker.split("train", labelled(range(8, 12), (stored_again(9), 2)), labelled([], (stored_again(10), 1)))
    found = worker.compared({"test": test, "validation": validation, "train": train})
    assert found.alike == (AlikeImages(splits=("test", "validation"), images=1),)
    assert found.in_two_classes == {"train": 2}


def test_splits_without_copies_have_nothing_in_common(worker: Worker) -> None:
    halves = {name: worker.split(name, labelled(rows)) for name, rows in (("test", ROWS[:6]), ("validation", ROWS[6:]))}
    assert worker.compared(halves) == SplitsCompared(cosine=COSINE)
