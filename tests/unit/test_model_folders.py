"""Folders of models that somebody prepared: none runs code, asks anybody, or is fetched from where it was not said."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from support.tiny_language_model import tiny_writer
from support.tiny_models import ARCHITECTURES, tiny_backbone, tiny_encoder
from support.tiny_pipeline import tiny_generator
from touchstone_contracts.arms.prompts import TransformersWriter
from touchstone_contracts.catalogue import Encoder
from touchstone_contracts.problems import Failure, Invalid
from touchstone_contracts.sources import AllowedSources
from touchstone_contracts.steps import ModelRef
from touchstone_encoders.loading import LOADERS, EncoderCache
from touchstone_generator.pipelines import load_generator
from touchstone_generator.prompts.language_model import load_causal_model
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.library import Library
from transformers import AutoTokenizer

CPU = torch.device("cpu")
COMMIT = "c0" * 20
CODE = "from pathlib import Path\nPath({marker!r}).touch()\nclass Evil:\n    pass\n"
AUTO_MAP = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", "evil.Evil"]}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with one model of each kind."""
    library = tmp_path_factory.mktemp("models")
    tiny_encoder(library, "clip", model_config=ARCHITECTURES["siglip"])
    tiny_backbone(library, "timm")
    tiny_writer(library, "writer")
    tiny_generator(library, "generator")
    return library


@pytest.fixture
def library(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models, tmp_path / "library")
    return tmp_path / "library"


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    asked: list[str] = []

    def note(question: str = "") -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr("builtins.input", note)
    yield asked
    assert asked == []


def load(library: Path, name: str, allowed: AllowedSources | None = None, location: str = "") -> Any:
    folder = library / "models" / name
    location, digest = location or f"library:models/{name}", None if location else folder_digest(folder)
    models = Library(library, allowed or AllowedSources())
    match name:
        case "writer":
            return load_causal_model(TransformersWriter(model=location, digest=digest), models, CPU)
        case "generator":
            return load_generator(ModelRef(model=location, digest=digest), models, CPU)
        case _:
            return LOADERS["timm" if name == "timm" else "clip"](ModelRef(model=location, digest=digest), models, CPU)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(Failure) as refused:
        call()
    return refused.value.code


def outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except Invalid as refused:
        return refused.code
    return "loaded"


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


KINDS = ("clip", "timm", "writer", "generator")


@pytest.mark.parametrize("name", KINDS)
def test_a_plain_folder_loads(library: Path, name: str) -> None:
    assert load(library, name) is not None


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("file", ["pytorch_model.bin", "deep/er/weights.pt", "old.ckpt", "state.pkl"])
def test_a_folder_with_a_pickle_is_refused_though_it_has_safetensors(library: Path, name: str, file: str) -> None:
    path = library / "models" / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert code_of(lambda: load(library, name)) == "pickled_weights"


@pytest.mark.parametrize("name", ["clip", "writer", "generator"])
def test_code_that_comes_with_a_model_is_not_run(library: Path, tmp_path: Path, name: str) -> None:
    """Configuration and tokenizer point at a module of the folder."""
    marker, folder = tmp_path / "ran", library / "models" / name
    changed = 0
    for path in [*folder.rglob("config.json"), *folder.rglob("tokenizer_config.json")]:
        rewrite(path, lambda found: found.update(auto_map=AUTO_MAP, tokenizer_class="Evil", model_type="evil"))
        (path.parent / "evil.py").write_text(CODE.format(marker=str(marker)))
        changed += 1
    assert changed >= 1
    assert outcome(lambda: load(library, name)) in {"loaded", "encoder_unloadable", "writer_unloadable"}
    assert not marker.exists()


def test_the_same_code_runs_where_it_is_trusted(library: Path, tmp_path: Path) -> None:
    """So the test before would notice."""
    marker, folder = tmp_path / "ran", library / "models/clip"
    rewrite(folder / "tokenizer_config.json", lambda found: found.update(auto_map=AUTO_MAP, tokenizer_class="Evil"))
    (folder / "evil.py").write_text(CODE.format(marker=str(marker)))
    with pytest.raises(AttributeError, match="Evil"):
        AutoTokenizer.from_pretrained(folder, trust_remote_code=True, local_files_only=True)
    assert marker.exists()


def test_a_configuration_cannot_allow_its_own_code(library: Path, tmp_path: Path) -> None:
    marker, folder = tmp_path / "ran", library / "models" / "clip"
    (folder / "evil.py").write_text(CODE.format(marker=str(marker)))
    rewrite(folder / "tokenizer_config.json", lambda found: found.update(auto_map=AUTO_MAP, tokenizer_class="Evil"))
    kwargs = {"trust_remote_code": True, "local_files_only": False}
    rewrite(
        folder / "open_clip_config.json",
        lambda found: found["model_cfg"]["text_cfg"].update(tokenizer_kwargs=kwargs),
    )
    assert outcome(lambda: load(library, "clip")) in {"loaded", "encoder_unloadable"}
    assert not marker.exists()


@pytest.mark.parametrize(
    ("part", "setting", "value"),
    [
        ("text_cfg", "hf_model_name", "evil/text-tower"),
        ("vision_cfg", "timm_model_name", "hf-hub:evil/tower"),
        ("vision_cfg", "timm_model_name", "local-dir:/etc"),
        ("vision_cfg", "timm_model_name", "evil/tower"),
    ],
)
def test_a_tower_from_elsewhere_is_refused(library: Path, part: str, setting: str, value: str) -> None:
    path = library / "models/clip/open_clip_config.json"
    rewrite(path, lambda found: found["model_cfg"][part].update({setting: value}))
    with pytest.raises(Invalid, match="not part of it"):
        load(library, "clip")


@pytest.mark.parametrize("module", ["os", "evil", "torch", "diffusers_modules.local.evil"])
def test_a_part_of_a_pipeline_from_another_module_is_refused(library: Path, module: str) -> None:
    index = library / "models/generator/model_index.json"
    rewrite(index, lambda found: found.update(unet=[module, "system"]))
    assert code_of(lambda: load(library, "generator")) == "pipeline_unsupported"


@pytest.fixture
def hub(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, list[str]]]:
    """A hub whose repositories are the library's models, in a cache as huggingface_hub lays it out. What was asked."""
    asked: list[tuple[str, str, list[str]]] = []

    def download(repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((repository, revision, allow_patterns))
        snapshot = tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / revision
        blobs = snapshot.parent.parent / "blobs"
        for number, path in enumerate(sorted((models / "models" / repository.split("/")[1]).rglob("*.*"))):
            blobs.mkdir(parents=True, exist_ok=True)
            snapshot.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, blobs / str(number))
            (snapshot / path.name).symlink_to(f"../../blobs/{number}")
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


@pytest.mark.parametrize("name", ["clip", "timm", "writer"])
def test_a_model_of_a_hub_is_fetched_by_its_commit_and_safe_files_alone(
    library: Path, hub: list[tuple[str, str, list[str]]], name: str
) -> None:
    allowed = AllowedSources(hub=("owner/*",))
    assert load(library, name, allowed, f"hub:owner/{name}@{COMMIT}") is not None
    [(repository, revision, patterns)] = hub
    assert (repository, revision) == (f"owner/{name}", COMMIT)
    assert patterns
    assert not any(pattern.endswith((".bin", ".pt", ".py", "*", ".pth")) for pattern in patterns)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("repository", "revision", "code"),
    [
        ("other", COMMIT, "source_not_allowed"),
        ("owner", "main", "hub_not_pinned"),
        ("owner", "c0c0c0", "hub_not_pinned"),
    ],
)
def test_a_worker_fetches_nothing_that_is_not_allowed_or_pinned(
    library: Path, hub: list[tuple[str, str, list[str]]], name: str, repository: str, revision: str, code: str
) -> None:
    allowed = AllowedSources(hub=("owner/*",))
    assert code_of(lambda: load(library, name, allowed, f"hub:{repository}/{name}@{revision}")) == code
    assert hub == []


def test_an_encoder_of_a_hub_is_compared_with_its_registered_digest(
    library: Path, hub: list[tuple[str, str, list[str]]]
) -> None:
    models = Library(library, AllowedSources(hub=("owner/clip",)))
    encoder = Encoder(name="clip", model=f"hub:owner/clip@{COMMIT}", digest="0" * 64)
    assert code_of(lambda: EncoderCache(models, CPU).tower(ModelRef.of(encoder))) == "digest_mismatch"
    assert len(hub) == 1
