"""Embeddings that come with a table of links, through the step that takes them over: the mini CLIP and a web server."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.mini_encoders import IMAGES, MINIVERSE, caption_rows, image_rows, pictures
from support.sent_reports import SentReports
from support.web import Page, Web, serving
from touchstone_contracts.catalogue import ArrayFile, LinkTable
from touchstone_contracts.messages import StepFailed, StepMessage
from touchstone_contracts.problems import Problem
from touchstone_contracts.sources import AllowedSources
from touchstone_contracts.steps import (
    INGEST_IMAGES,
    TAKE_EMBEDDINGS,
    Contract,
    ImagesEmbedded,
    IngestImages,
    ModelRef,
    TakeEmbeddings,
)
from touchstone_encoders.loading import EncoderCache
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.tasks import handlers
from touchstone_retrieval.tools import Tools
from touchstone_retrieval.unusable_rows import usable_rows
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import file_digest, folder_digest
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import StepRunner

NOWHERE, HERE = (), ("127.0.0.1",)


@dataclass
class Taking:
    library: Path
    web: Web
    index: Path

    def take(
        self, images: np.ndarray, captions: np.ndarray | None = None, hosts: tuple[str, ...] = HERE
    ) -> ImagesEmbedded | Problem:
        """What comes of the rows with a table of IMAGES links; `hosts`: where the worker may download from."""
        table = self._table(images, captions)
        library, reports = Library(self.library, AllowedSources(hosts=hosts)), SentReports()
        artifacts = self.artifacts = Artifacts(MemoryObjects())
        encoders = EncoderCache(library, torch.device("cpu"))
        tools = Tools(artifacts, library, encoders, QdrantEdgeIndex(self.index), private_addresses=True)
        runner = StepRunner(handlers, tools, artifacts, reports, WorkerMetrics(), "retrieval@test", 60)

        def run(contract: Contract[Any, Any], request: Any) -> str:
            step, asked = contract.step_id(request), request.model_dump(mode="json")
            runner.run(
                StepMessage(step_id=step, attempt=1, kind=contract.name, version=contract.version, request=asked)
            )
            return step

        rows = run(INGEST_IMAGES, IngestImages(source=table))
        model = ModelRef(model="library:mini-clip", digest=folder_digest(self.library / "mini-clip"))
        step = run(TAKE_EMBEDDINGS, TakeEmbeddings(images=rows, table=table, encoder=model))
        last = reports.sent[-1]
        return last.problem if isinstance(last, StepFailed) else artifacts.result(TAKE_EMBEDDINGS, step)

    def _table(self, images: np.ndarray, captions: np.ndarray | None) -> LinkTable:
        urls = [self.web.url(f"/{row}.png") for row in range(IMAGES)]
        pq.write_table(pa.table({"url": urls, "caption": list(pictures().captions)}), self.library / "links.parquet")

        def saved(name: str, rows: np.ndarray) -> ArrayFile:
            np.save(self.library / name, rows.astype(np.float16))
            return ArrayFile(location=f"library:{name}", digest=file_digest(self.library / name))

        return LinkTable(
            location="library:links.parquet",
            digest=file_digest(self.library / "links.parquet"),
            images=IMAGES,
            image_embeddings=saved("img.npy", images),
            caption_embeddings=None if captions is None else saved("text.npy", captions),
        )


@pytest.fixture
def taking(tmp_path: Path) -> Iterator[Taking]:
    library = tmp_path / "library"
    library.mkdir()
    shutil.copytree(MINIVERSE / "models/mini-clip", library / "mini-clip")
    with serving({f"/{row}.png": Page(image) for row, image in enumerate(pictures().images)}) as web:
        yield Taking(library, web, tmp_path / "index")


def taken(found: ImagesEmbedded | Problem) -> ImagesEmbedded:
    assert isinstance(found, ImagesEmbedded), found
    return found


def refused(found: ImagesEmbedded | Problem) -> str:
    assert isinstance(found, Problem), found
    assert found.code == "embeddings_mismatch"
    return found.detail


def test_bad_rows_are_named_and_the_file_goes_on(taking: Taking) -> None:
    rows = image_rows().astype(np.float32)
    rows[3, 5], rows[50, 0], rows[100] = np.nan, np.inf, 0
    found = taken(taking.take(rows))
    lost = found.unusable["unusable_image_embedding"]
    assert lost.count == 3
    assert lost.names == tuple(taking.web.url(f"/{row}.png") for row in (3, 50, 100))
    assert found.image_embeddings is not None
    stored = taking.artifacts.get_array(found.image_embeddings)
    assert np.flatnonzero(~usable_rows(stored)).tolist() == [3, 50, 100]
    assert len(stored) == found.count == IMAGES
    assert found.compared is not None
    [images] = found.compared
    assert (images.of, images.rows) == ("images", 32)
    assert images.agreement > 0.99
    assert 32 <= len(taking.web.asked) <= 128


def test_rows_in_another_order_are_refused_by_downloaded_images(taking: Taking) -> None:
    detail = refused(taking.take(np.roll(image_rows(), 1, axis=0)))
    assert "32 rows were compared with the embeddings of their images" in detail
    assert "1 row further down" in detail


def test_rows_of_other_weights_are_refused_by_downloaded_images(taking: Taking) -> None:
    assert "another encoder" in refused(taking.take(image_rows("mini-clip-full")))


def test_dead_links_and_one_picture_behind_many_are_passed_over(taking: Taking) -> None:
    for row in range(IMAGES):
        if row % 3 == 0:
            del taking.web.pages[f"/{row}.png"]
        elif row % 3 == 1:
            taking.web.pages[f"/{row}.png"] = Page(pictures().images[0])
    found = taken(taking.take(image_rows()))
    assert found.compared is not None
    assert found.compared[-1].of == "images"
    assert found.compared[-1].rows >= 20


def test_where_nothing_may_be_downloaded_captions_are_compared(taking: Taking) -> None:
    found = taken(taking.take(image_rows(), caption_rows(), NOWHERE))
    assert taking.web.asked == []
    assert found.compared is not None
    assert [each.of for each in found.compared] == ["captions", "captions_with_images"]
    assert "captions fit the rows that are" in refused(taking.take(np.roll(image_rows(), 1, axis=0), None, NOWHERE))
    detail = refused(taking.take(image_rows(), np.roll(caption_rows(), 1, axis=0), NOWHERE))
    assert "library:text.npy" in detail
    assert "1 row further down" in detail
