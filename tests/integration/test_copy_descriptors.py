"""ISC21's copy descriptor: from the published kind of checkpoint to what curation compares images by."""

import argparse
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.problems import Invalid
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.convert_descriptor import convert, main
from touchstone_encoders.embedding import embed_images
from touchstone_encoders.loading import EncoderCache, NoTextTower
from touchstone_runtime.library import Library

ARCHITECTURE, SIZE, DIMENSION = "test_efficientnet", 48, 16
pytestmark = pytest.mark.usefixtures("one_thread")


class Published(nn.Module):
    """The network as ISC21's release defines it: generalised mean of power 1, linear layer, batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        backbone: Any = timm.create_model(ARCHITECTURE, features_only=True)
        self.backbone = backbone
        self.fc = nn.Linear(backbone.feature_info.info[-1]["num_chs"], DIMENSION, bias=False)
        self.bn = nn.BatchNorm1d(DIMENSION)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.backbone(pixels)[-1].clamp(min=1e-6)
        pooled = functional.avg_pool2d(features, features.shape[-2:]).flatten(1)
        return functional.normalize(self.bn(self.fc(pooled)))


@pytest.fixture(scope="module")
def published() -> Published:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Published()
        network.train()(torch.randn(16, 3, SIZE, SIZE))  # so that the batch statistics are not those of a fresh layer
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "isc.pth.tar"
    stored = {
        "arch": ARCHITECTURE,
        "args": argparse.Namespace(input_size=SIZE, lr=0.1),
        "state_dict": {f"module.{name}": value for name, value in published.state_dict().items()},
    }
    torch.save(stored, path)
    return path


def picture(seed: int, size: tuple[int, int] = (80, 50), quality: int | None = None) -> bytes:
    """Smooth colours; with a `quality` as JPEG of three quarters of the size: a copy."""
    noise = np.random.default_rng(seed).integers(0, 256, size=(5, 4, 3), dtype=np.uint8)
    image = Image.fromarray(noise, "RGB").resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    if quality is None:
        image.save(buffer, "PNG")
    else:
        image.resize((size[0] * 3 // 4, size[1] * 3 // 4)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture
def library(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, ModelRef]:
    main([str(checkpoint), str(tmp_path)])
    (entry,) = Catalogue.model_validate_json(capsys.readouterr().out).encoders
    assert (entry.name, entry.kind, entry.has_text_tower) == ("isc-ft-v107", "copy_descriptor", False)
    return tmp_path, ModelRef.of(entry)


def cache(library: Path) -> EncoderCache:
    return EncoderCache(Library(library), torch.device("cpu"))


def test_a_converted_descriptor_gives_the_published_networks_numbers(
    published: Published, library: tuple[Path, ModelRef]
) -> None:
    folder, ref = library
    images = [picture(seed) for seed in range(5)]
    found = embed_images(cache(folder).tower(ref), images)
    preprocessing: Any = timm.get_pretrained_cfg(ARCHITECTURE)
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    opened = [Image.open(io.BytesIO(image)).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for image in images]
    pixels = torch.stack([torch.from_numpy(np.asarray(image) / np.float32(255)) for image in opened])
    with torch.inference_mode():
        expected = published(((pixels - mean) / std).permute(0, 3, 1, 2))
    assert found.shape == (5, DIMENSION)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_copy_is_nearer_than_any_other_image(library: tuple[Path, ModelRef]) -> None:
    folder, ref = library
    tower = cache(folder).tower(ref)
    originals = embed_images(tower, [picture(seed) for seed in range(8)])
    copies = embed_images(tower, [picture(seed, quality=60) for seed in range(8)])
    assert (copies @ originals.T).argmax(axis=1).tolist() == list(range(8))


def test_converting_twice_gives_the_same_digest(checkpoint: Path, tmp_path: Path) -> None:
    entries = []
    for name in ("one", "two"):
        convert(checkpoint, tmp_path / name)
        entries.append([(path.name, path.read_bytes()) for path in sorted((tmp_path / name).iterdir())])
    assert entries[0] == entries[1]
    assert json.loads(dict(entries[0])["descriptor.json"])["image_size"] == SIZE


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this would have run",)


@pytest.mark.parametrize("content", ["nothing", "harmful", "other"])
def test_what_is_no_checkpoint_is_refused_and_nothing_in_it_runs(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.pth.tar"
    if content == "harmful":
        path.write_bytes(pickle.dumps(Harmful()))
    elif content == "other":
        torch.save({"arch": ARCHITECTURE, "args": argparse.Namespace(), "state_dict": {}}, path)
    with pytest.raises(SystemExit, match="no checkpoint of ISC21"):
        main([str(path), str(tmp_path)])
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "models").exists()


def test_texts_and_other_locations_are_refused(library: tuple[Path, ModelRef], tmp_path: Path) -> None:
    folder, ref = library
    with pytest.raises(NoTextTower):
        cache(folder).get(ref)
    with pytest.raises(Invalid, match="lies in the library"):
        cache(folder).tower(ref.model_copy(update={"model": "hub:somebody/isc@main"}))
    (folder / "models" / "isc-ft-v107" / "descriptor.json").write_text("{}")
    with pytest.raises(Invalid, match="digest"):
        cache(folder).tower(ref)
