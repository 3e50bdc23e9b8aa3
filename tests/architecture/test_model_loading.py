"""Nothing that is loaded may run code: no pickles, no code of repositories, and nothing that is fetched unasked.

Every call of the sources by the name of a loader is looked at, whoever it belongs to: a new one must say the same."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("libs", "services", "clients", "stack", "miniverse")

TRANSFORMERS = {"trust_remote_code": False}
SAFETENSORS = TRANSFORMERS | {"use_safetensors": True}
REQUIRED: dict[str, dict[str, bool]] = {
    "AutoTokenizer.from_pretrained": TRANSFORMERS | {"local_files_only": True},
    "AutoModelForCausalLM.from_pretrained": SAFETENSORS | {"local_files_only": True},
    "StableDiffusionPipeline.from_pretrained": SAFETENSORS | {"local_files_only": True},
    "auto_pipeline.from_pretrained": SAFETENSORS | {"local_files_only": True},  # of diffusers, by the family
    "DiffusionPipeline.download": SAFETENSORS,
    "CLIPTokenizer.from_pretrained": TRANSFORMERS | {"local_files_only": True},
    "np.load": {"allow_pickle": False},
    "np.save": {"allow_pickle": False},
    "torch.load": {"weights_only": True},
}
"""What a call must say, word by word. Loaders that are called otherwise are in NO_ARGUMENT or not allowed."""
NO_ARGUMENT = {
    "open_clip.create_model_and_transforms",  # a folder without pickles (touchstone_runtime.models)
    "open_clip.create_model",
    "open_clip.get_tokenizer",  # its settings: touchstone_encoders.open_clip_folder
    "timm.create_model",
    "snapshot_download",  # files of safe kinds by their names
}
LOADERS = {
    "from_pretrained", "from_single_file", "create_model", "create_model_and_transforms",
    "create_model_from_pretrained", "get_tokenizer", "snapshot_download", "hf_hub_download", "load_dataset",
    "load_state_dict_from_url", "load_checkpoint",
}  # fmt: skip
MODULES_THAT_UNPICKLE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
ONLY_ITS_ERROR = {"UnpicklingError"}
CALLS = 19


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("src/**/*.py")):
            yield path, ast.parse(path.read_text())


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def is_loader(name: str) -> bool:
    owner, _, method = name.rpartition(".")
    plain = method == "load" and owner.split(".")[-1] in {"np", "numpy", "torch", "jit", "hub"}
    plain = plain or name == "transformers.pipeline"  # other things are called so, too
    return plain or name in REQUIRED or method in LOADERS or (method == "download" and "Pipeline" in owner)


def loader_calls() -> list[tuple[str, str, ast.Call]]:
    """(where, dotted name, call)"""
    return [
        (f"{path.relative_to(ROOT)}:{node.lineno}", dotted(node.func), node)
        for path, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and is_loader(dotted(node.func))
    ]


def said(call: ast.Call) -> dict[str, object]:
    return {
        keyword.arg: keyword.value.value
        for keyword in call.keywords
        if keyword.arg is not None and isinstance(keyword.value, ast.Constant)
    }


def fault(name: str, call: ast.Call) -> str | None:
    if name in NO_ARGUMENT:
        return None
    if name not in REQUIRED:
        return f"{name} is no loader that is known to be safe: see test_model_loading"
    missing = {key: value for key, value in REQUIRED[name].items() if said(call).get(key) is not value}
    return f"{name} does not say {missing}" if missing else None


def test_every_loader_says_that_it_runs_no_code() -> None:
    calls = loader_calls()
    assert len(calls) >= CALLS
    assert [f"{where}: {problem}" for where, name, call in calls if (problem := fault(name, call))] == []


@pytest.mark.parametrize(
    "code",
    [
        "AutoModel.from_pretrained(folder)",
        "AutoTokenizer.from_pretrained(folder, local_files_only=True)",
        "AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=given)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.hub.load('owner/repository', 'model')",
        "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path)",
        "StableDiffusionPipeline.from_single_file(path)",
        "StableDiffusionPipeline.download(name)",
        "transformers.pipeline('text-generation')",
    ],
)
def test_a_loader_that_does_not_say_so_is_found(code: str) -> None:
    [call] = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert is_loader(dotted(call.func))
    assert fault(dotted(call.func), call) is not None


def test_nothing_unpickles() -> None:
    files = list(sources())
    assert len(files) > 300
    found = []
    for path, module in files:
        for node in ast.walk(module):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names}
                modules = {node.module or ""} if isinstance(node, ast.ImportFrom) else names
                if {name.split(".")[0] for name in modules} & MODULES_THAT_UNPICKLE and not names <= ONLY_ITS_ERROR:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
