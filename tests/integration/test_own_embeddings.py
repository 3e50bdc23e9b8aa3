"""Embeddings that are computed here are checked too: encoders with a NaN in their weights, through the step itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.sent_reports import SentReports
from support.tiny_images import upstream_rows, write_source
from support.tiny_models import tiny_encoder
from touchstone_contracts.messages import StepFailed, StepMessage
from touchstone_contracts.problems import Problem
from touchstone_contracts.steps import (
    EMBED_IMAGES,
    INGEST_IMAGES,
    Contract,
    EmbedImages,
    ImagesEmbedded,
    IngestImages,
    ModelRef,
)
from touchstone_encoders.loading import EncoderCache
from touchstone_retrieval.index.qdrant_edge import QdrantEdgeIndex
from touchstone_retrieval.tasks import handlers
from touchstone_retrieval.tools import Tools
from touchstone_retrieval.unusable_rows import usable_rows
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library
from touchstone_runtime.metrics import WorkerMetrics
from touchstone_runtime.objects import MemoryObjects
from touchstone_runtime.serving import StepRunner

ROWS = upstream_rows(16)


@dataclass
class Embedding:
    library: Path
    artifacts: Artifacts

    def embed(self, parameter: str, row: int | None = None) -> ImagesEmbedded | Problem:
        """By an encoder with a NaN in the whole parameter, or in one row of it."""
        tiny_encoder(self.library)
        weights = self.library / "models/tiny-clip/open_clip_model.safetensors"
        tensors = load_file(weights)
        tensors[parameter][slice(None) if row is None else row] = torch.nan
        save_file(tensors, weights)
        model = ModelRef(model="library:models/tiny-clip", digest=folder_digest(weights.parent))
        library, reports = Library(self.library), SentReports()
        encoders = EncoderCache(library, torch.device("cpu"))
        tools = Tools(self.artifacts, library, encoders, QdrantEdgeIndex(self.library / "index"))
        runner = StepRunner(handlers, tools, self.artifacts, reports, WorkerMetrics(), "retrieval@test", 60)
        ingest = IngestImages(source=write_source(self.library, "up", ROWS))
        embed = EmbedImages(images=INGEST_IMAGES.step_id(ingest), encoder=model, captions=True)
        asked: tuple[tuple[Contract[Any, Any], Any], ...] = ((INGEST_IMAGES, ingest), (EMBED_IMAGES, embed))
        for contract, request in asked:
            runner.run(
                StepMessage(
                    step_id=contract.step_id(request),
                    attempt=1,
                    kind=contract.name,
                    version=contract.version,
                    request=request.model_dump(mode="json"),
                )
            )
        last = reports.sent[-1]
        return last.problem if isinstance(last, StepFailed) else self.artifacts.result(EMBED_IMAGES, last.step_id)


@pytest.fixture
def embedding(tmp_path: Path) -> Embedding:
    torch.set_num_threads(1)
    return Embedding(tmp_path, Artifacts(MemoryObjects()))


def test_captions_without_a_finite_embedding_are_named_and_the_others_arrive(embedding: Embedding) -> None:
    """The token `green` has no usable vector, so neither has any caption that holds it."""
    loaded = EncoderCache(Library(embedding.library), torch.device("cpu"))
    token = int(loaded.get(ModelRef.of(tiny_encoder(embedding.library))).tokenize(["green"])[0, 1])
    found = embedding.embed("token_embedding.weight", token)
    assert isinstance(found, ImagesEmbedded), found
    green = [row for row, each in enumerate(ROWS) if "green" in each["caption"]]
    assert 0 < len(green) < len(ROWS)
    assert set(found.unusable) == {"unusable_caption_embedding"}
    assert found.unusable["unusable_caption_embedding"].names == tuple(ROWS[row]["key"] for row in green)
    assert found.caption_embeddings is not None
    assert found.image_embeddings is not None
    captions, images = (
        embedding.artifacts.get_array(blob) for blob in (found.caption_embeddings, found.image_embeddings)
    )
    assert np.flatnonzero(~usable_rows(captions)).tolist() == green
    assert usable_rows(images).all()


def test_an_encoder_without_one_usable_embedding_fails_the_step(embedding: Embedding) -> None:
    found = embedding.embed("visual.head.proj.weight")
    assert isinstance(found, Problem), found
    assert found.code == "no_usable_embedding"
    assert f"all {len(ROWS)} embeddings" in found.detail
