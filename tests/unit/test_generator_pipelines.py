"""Loading pipelines: what is refused, and that one process loads a model once."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub.errors import RevisionNotFoundError
from support.tiny_pipeline import tiny_generator, tiny_pipeline
from touchstone_contracts.catalogue import Generator
from touchstone_contracts.problems import Failure, Invalid, Transient
from touchstone_contracts.sources import AllowedSources
from touchstone_contracts.steps import ModelRef
from touchstone_generator.pipelines import GeneratorCache, load_generator
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library

CPU = torch.device("cpu")
COMMIT = "a1" * 20
ALLOWED = AllowedSources(hub=("owner/model",))


@pytest.fixture
def generator(tmp_path: Path) -> Generator:
    return tiny_generator(tmp_path)


def code_of(ref: ModelRef, library: Path, family: type[Failure] = Invalid) -> str:
    with pytest.raises(family) as refused:
        load_generator(ref, Library(library, ALLOWED), CPU)
    return refused.value.code


def ref_of(folder: Path) -> ModelRef:
    return ModelRef(model=f"library:models/{folder.name}", digest=folder_digest(folder))


def test_a_generator_is_loaded_once_in_full_precision_without_a_safety_checker(
    tmp_path: Path, generator: Generator
) -> None:
    cache = GeneratorCache(Library(tmp_path), CPU)
    loaded = cache.get(ModelRef.of(generator))

    assert cache.get(ModelRef.of(generator)) is loaded
    assert loaded.pipeline.unet.dtype == torch.float32
    assert loaded.pipeline.safety_checker is None
    assert loaded.scheduler_config["steps_offset"] == 1


def test_the_same_seed_writes_the_same_tiny_generator(tmp_path: Path, generator: Generator) -> None:
    assert tiny_generator(tmp_path / "again").digest == generator.digest
    assert tiny_generator(tmp_path / "other", seed=1).digest != generator.digest


def test_changed_weights_are_refused(tmp_path: Path, generator: Generator) -> None:
    weights = tmp_path / "models" / generator.name / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")

    assert code_of(ModelRef.of(generator), tmp_path) == "digest_mismatch"


def test_a_library_model_without_a_digest_is_refused(tmp_path: Path, generator: Generator) -> None:
    assert code_of(ModelRef(model=generator.model), tmp_path) == "digest_missing"


def test_a_missing_location_is_refused(tmp_path: Path) -> None:
    assert code_of(ModelRef(model="library:models/none", digest="0" * 64), tmp_path) == "place_missing"


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_pickled_weights_are_refused(tmp_path: Path, generator: Generator, part: str) -> None:
    folder = tmp_path / "models" / generator.name
    (weights,) = (folder / part).glob("*.safetensors")
    state = getattr(tiny_pipeline(), part).state_dict()
    weights.unlink()
    torch.save(state, folder / part / ("pytorch_model.bin" if part == "text_encoder" else f"{weights.stem}.bin"))

    assert code_of(ref_of(folder), tmp_path) == "pickled_weights"


def test_another_family_of_pipelines_is_refused_by_name(tmp_path: Path, generator: Generator) -> None:
    folder = tmp_path / "models" / generator.name
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "KandinskyV22Pipeline"}))

    assert code_of(ref_of(folder), tmp_path) == "pipeline_unsupported"


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "generator_unloadable"), ("{", "generator_unloadable"), ("[]", "pipeline_unsupported")],
)
def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, content: str | None, code: str) -> None:
    folder = tmp_path / "models" / "odd"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "model_index.json").write_text(content)

    assert code_of(ref_of(folder), tmp_path) == code


def test_a_hub_model_loads_from_the_cache_folder_diffusers_names(
    tmp_path: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def download(repository: str, *, revision: str, **_: object) -> str:
        asked.append((repository, revision))
        return str(tmp_path / "models" / generator.name)

    monkeypatch.setattr(DiffusionPipeline, "download", download)
    ref = ModelRef(model=f"hub:owner/model@{COMMIT}", digest=generator.digest)
    load_generator(ref, Library(tmp_path, ALLOWED), CPU)

    assert asked == [("owner/model", COMMIT)]
    assert code_of(ref.model_copy(update={"digest": "0" * 64}), tmp_path) == "digest_mismatch"


def test_an_unreachable_hub_is_worth_another_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(DiffusionPipeline, "download", unreachable)

    assert code_of(ModelRef(model=f"hub:owner/model@{COMMIT}"), tmp_path, Transient) == "hub"


def test_a_revision_the_hub_does_not_have_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> str:
        raise OSError("cannot load") from RevisionNotFoundError.__new__(RevisionNotFoundError)

    monkeypatch.setattr(DiffusionPipeline, "download", unknown)

    assert code_of(ModelRef(model=f"hub:owner/model@{COMMIT}"), tmp_path) == "hub_model_missing"
