"""Makes `installation/`, what release 0.1.0 left behind; with the code of that release only (installation/README.md).

`PYTHONPATH=tests python tests/upgrade/make_installation.py FOLDER`: FOLDER must not exist; about two minutes. Later
releases keep this file as a record of how the fixture was made and are not expected to be able to run it."""
# mypy: ignore-errors

import io
import json
import os
import shutil
import signal
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import diffusers
import open_clip
import torch
import yaml
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from minio import Minio
from safetensors.torch import load_file, save_file
from support.running_stack import asking
from support.tiny_images import tiny_target, upstream_rows
from support.tiny_models import tiny_encoder
from support.tiny_world import UPSTREAM_IMAGES, TinyWorld, tiny_study, tiny_world
from touchstone import Client
from touchstone_contracts.catalogue import Catalogue
from touchstone_runtime.digests import folder_digest
from touchstone_stack.lifecycle import Stack
from touchstone_stack.processes import Layout
from touchstone_stack.servers import free_ports
from touchstone_stack.state import WORKERS, Folder, State

RELEASE = "0.1.0"
ONE_OF_EACH = {name: WORKERS[name] for name in ("retrieval", "generator", "trainer")}
SETTINGS = {
    "TOUCHSTONE_LEASE_SECONDS": "10",
    "TOUCHSTONE_HEARTBEAT_SECONDS": "1",
    "TOUCHSTONE_RETRY_SECONDS": "0.2",
    "TOUCHSTONE_POLL_SECONDS": "0.2",
    "TOUCHSTONE_EVENT_POLL_SECONDS": "0.1",
}

# A tower of 7,000 parameters and a UNet of 26,000: the weights of every run are stored, and committed.
SMALL_ENCODER = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
SMALL_UNET = {"block_out_channels": (8, 8)}

NONE, RETRIEVED, SYNTHETIC = tiny_study()["arms"]
# Rates at which so small an encoder learns something from a few images, so that runs differ from each other.
RECIPE = tiny_study()["recipe"] | {"learning_rates": [0.003], "epochs": 6}
EVALUATION = {"linear_probe": {"epochs": 40, "warmup_updates": 2}}
# Best first: a shuffle follows from the bytes of the images, and those of generated ones differ between processors.
CURATION = tiny_study()["curation"] | {"ranking": "score"}
AGAIN = RETRIEVED | {"name": "retrieved-again"}
"""Another name for the same definition: all steps of the two arms are shared, each under the role of the first."""
SCARCE = {"kind": "retrieval", "name": "scarce", "strategy": {"kind": "semantic", "results_per_query": 1}}
"""Finds too few images for the largest size."""


def perturbed(parent: str, **changes: Any) -> dict[str, Any]:
    sampler = {"steps": 4, "batch_size": 4}
    arm = {"kind": "perturbation", "name": "perturbed", "parent": parent, "gamma": 0.5, "sampler": sampler}
    return arm | {"generator": "tiny-diffusion"} | changes


def halves(*arms: str) -> dict[str, Any]:
    parts = [{"arm": arm, "amount": {"kind": "share", "share": 0.5}} for arm in arms]
    return {"kind": "mixture", "name": "mixed", "parts": parts}


FINISHED = tiny_study(
    name="finished before the upgrade",
    targets=["shapes", "forms"],
    arms=[NONE, RETRIEVED, AGAIN, SCARCE, SYNTHETIC, perturbed("retrieved"), halves("retrieved", "synthetic")],
    sizes=[4, 8, 16],
    curation=CURATION,
    recipe=RECIPE,
    evaluation=EVALUATION,
    comparison={"a": "synthetic", "b": "retrieved", "metric": "zero_shot", "delta": 0.05},
)
CAPTIONED = SYNTHETIC | {"name": "captioned", "prompts": {"kind": "retrieved_captions", "arm": "retrieved"}}
HALF_FINISHED = tiny_study(
    name="half-finished before the upgrade",
    targets=["forms"],
    # Two arms stand before the arms they are made of.
    arms=[
        halves("retrieved", "captioned"),
        NONE,
        perturbed("captioned", prompt="caption"),
        RETRIEVED,
        AGAIN,
        CAPTIONED,
    ],
    sizes=[4, 8, 12],
    seeds=[0, 2],
    curation=CURATION,
    recipe=RECIPE | {"learning_rates": [0.003, 0.01]},
    evaluation=EVALUATION,
    comparison={
        "a": "captioned",
        "b": "retrieved",
        "metric": "linear_probe",
        "test_set": "pale",
        "stopping": "anytime",
    },
)
TUNED = SYNTHETIC | {
    "name": "tuned",
    "prompts": {"kind": "language_model"},
    "tune": {"images": {"kind": "arm", "arm": "retrieved"}, "images_per_class": 2, "lora": {"rank": 2, "steps": 2}},
}
CANCELLED = tiny_study(
    name="cancelled before the upgrade", arms=[RETRIEVED, TUNED], sizes=[8], seeds=[7], curation=CURATION
)


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="touchstone-installation-") as scratch:
        make(Path(scratch), folder)


def make(scratch: Path, folder: Path) -> None:
    world = small_world(scratch / "library")
    with stack_of(scratch / "stack", world) as (stack, state), state.client() as client:
        posted = [client.post_document(FINISHED)[0].id]
        client.wait(posted[0], timeout=300)
        stop(stack, "conductor", "generator")
        posted += [client.post_document(document)[0].id for document in (CANCELLED, HALF_FINISHED)]
        client.cancel(posted[1])
        stack.supervisor().start("conductor")
        crash_in_the_middle(stack, client, posted[2])
        answers = {path: answer(state, path) for path in paths(posted)}
        dump_database(scratch / "stack" / "touchstone.db", folder / "database.sqlite")
        write_tar(folder / "objects.tar.xz", objects(state))
    write_tar(folder / "library.tar.xz", files(world.library))
    shutil.copytree(scratch / "stack", scratch / "copy", ignore=shutil.ignore_patterns("*.sock"))
    with stack_of(scratch / "copy", world) as (_, state), state.client() as client:
        client.wait(posted[2], timeout=300)
        reached = {path: timeless(answer(state, path)) for path in paths_of_measured(posted[2], HALF_FINISHED)[1:]}
    write_expectations(folder / "expected.json", posted, answers, reached)


# The world


def small_world(library: Path) -> TinyWorld:
    world = tiny_world(library)
    catalogue = Catalogue.model_validate(yaml.safe_load(world.catalogue.read_text()))
    encoder = small_encoder(library)
    generator = small_generator(library / "models" / "tiny-diffusion")
    generators = tuple(entry.model_copy(update={"digest": generator}) for entry in catalogue.generators)
    changed = catalogue.model_copy(update={"encoders": (encoder,), "generators": generators})
    world.catalogue.write_text(yaml.safe_dump(changed.model_dump(mode="json"), sort_keys=False))
    return world


def small_encoder(library: Path) -> Any:
    """Only tokens that the tiny world's texts have keep their embedding, so that the others pack to nothing."""
    encoder = tiny_encoder(library, trained_on="tiny", model_config=SMALL_ENCODER)
    folder = library / "models" / "tiny-clip"
    target = tiny_target(library)
    names = [label.display_name for label in target.classes]
    filled = [template.format(name=name) for template, name in product(target.templates.zero_shot, names)]
    captions = [row["caption"] for row in upstream_rows(UPSTREAM_IMAGES)]
    used = open_clip.get_tokenizer(f"local-dir:{folder}")([*names, *filled, *captions]).unique()
    weights = load_file(folder / "open_clip_model.safetensors")
    kept = torch.zeros_like(weights["token_embedding.weight"])
    kept[used] = weights["token_embedding.weight"][used]
    save_file(weights | {"token_embedding.weight": kept}, folder / "open_clip_model.safetensors")
    return encoder.model_copy(update={"digest": folder_digest(folder)})


def small_generator(folder: Path) -> str:
    """Its digest."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config({**pipeline.unet.config, **SMALL_UNET})
    pipeline.register_modules(unet=unet)
    shutil.rmtree(folder)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder_digest(folder)


# The system


@contextmanager
def stack_of(folder: Path, world: TinyWorld) -> Iterator[tuple[Stack, State]]:
    layout = Layout(Folder(folder), world.library, threads=1, workers=ONE_OF_EACH, extra=SETTINGS)
    stack = Stack(layout, world.catalogue, api_port=free_ports(1)[0], say=print)
    with stack.running() as state:
        yield stack, state


def stop(stack: Stack, *processes: str) -> None:
    for process in processes:
        stack.supervisor()._rpc.stopProcess(process)


def crash_in_the_middle(stack: Stack, client: Client, experiment: str) -> None:
    """Trainer and conductor end while the trainer computes; the generator was away from the start."""
    for event in client.events(experiment):
        role = event.data.get("role", "")
        if event.event == "step.succeeded" and role.startswith("forms/retrieved/evaluate n=4"):
            break
    trainer = stack.supervisor().pid_of("trainer")
    while True:
        os.kill(trainer, signal.SIGSTOP)
        time.sleep(1)  # the conductor hears what the trainer said before
        if started_runs(stack):
            break
        os.kill(trainer, signal.SIGCONT)
        time.sleep(0.05)
    stop(stack, "conductor", "trainer", "retrieval")
    assert started_runs(stack)


def started_runs(stack: Stack) -> int:
    query = "SELECT count(*) FROM steps WHERE state = 'leased' AND queue = 'trainer' AND started_at IS NOT NULL"
    with closing(sqlite3.connect(stack.folder.path / "touchstone.db")) as connection:
        return connection.execute(query).fetchone()[0]


# What is kept


def paths(posted: list[str]) -> list[str]:
    finished, cancelled, half_finished = (f"/v1/experiments/{experiment}" for experiment in posted)
    stopped = [f"{half_finished}/{part}" for part in ("results", "verdict", "scaling", "manifest")]
    return [
        "/v1/experiments",
        "/v1/upstreams/tiny",
        *paths_of_measured(posted[0], FINISHED),
        f"{finished}/classes?arm=scarce&size=16&target=forms",
        cancelled,
        f"{cancelled}/manifest",
        half_finished,
        *stopped,
        f"{half_finished}/arms/retrieved",
        f"{half_finished}/arms/captioned",
    ]


def paths_of_measured(experiment: str, study: dict[str, Any]) -> list[str]:
    path = f"/v1/experiments/{experiment}"
    arms = [arm["name"] for arm in study["arms"] if arm["kind"] != "none"]
    return [
        path,
        *(f"{path}/{part}" for part in ("results", "verdict", "scaling", "manifest")),
        *(f"{path}/arms/{arm}?target={target}" for target, arm in product(study["targets"], arms)),
        *(f"{path}/classes?arm={arm}&size=4&target=forms" for arm in arms),
        f"{path}/classes?arm=retrieved&size=4&target=forms&metric=linear_probe&test_set=pale",
    ]


def answer(state: State, path: str) -> dict[str, Any]:
    with asking(state) as http:
        response = http.get(path)
    body = {name: value for name, value in response.json().items() if name != "request_id"}
    return {"status": response.status_code, "body": body}


def timeless(answered: dict[str, Any]) -> dict[str, Any]:
    """Without what follows from how long the steps took, which is another time each time they run."""
    return answered | {"body": {name: value for name, value in answered["body"].items() if name != "costs"}}


def dump_database(database: Path, copy: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))


def objects(state: State) -> dict[str, bytes]:
    store = state.object_store()
    secret = store.s3_secret_key.get_secret_value()
    client = Minio(store.s3_endpoint, access_key=store.s3_access_key, secret_key=secret, secure=False)
    keys = [
        entry.object_name
        for prefix in ("blobs/", "steps/")
        for entry in client.list_objects(store.s3_bucket, prefix, recursive=True)
    ]
    return {key: client.get_object(store.s3_bucket, key).read() for key in keys}


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def write_tar(path: Path, contents: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for name in sorted(contents):
            member = tarfile.TarInfo(name)
            member.size = len(contents[name])
            archive.addfile(member, io.BytesIO(contents[name]))


def write_expectations(path: Path, posted: list[str], answers: dict[str, Any], reached: dict[str, Any]) -> None:
    expected = {
        "release": RELEASE,
        "experiments": dict(zip(("finished", "cancelled", "half_finished"), posted, strict=True)),
        "answers": answers,
        "reached": reached,
        "computed_with": {
            "processor": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "open_clip": open_clip.__version__,
        },
    }
    path.write_text(one_answer_a_line(expected) + "\n")


def one_answer_a_line(value: Any, depth: int = 2) -> str:
    """JSON whose objects are broken into lines down to `depth`."""
    if depth == 0 or not isinstance(value, dict):
        return json.dumps(value)
    entries = (f"{json.dumps(name)}: {one_answer_a_line(inner, depth - 1)}" for name, inner in value.items())
    return "{\n" + ",\n".join(entries) + "\n}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
