"""One run by two processes under `accelerate launch` (gloo, CPU) is the run of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from support.trainer_world import World, progress
from touchstone_contracts.recipes import Recipe
from touchstone_contracts.recipes.class_labels import CutMix
from touchstone_contracts.recipes.contrastive import Contrastive
from touchstone_contracts.recipes.cross_entropy import CrossEntropy
from touchstone_contracts.steps import ADAPT_ENCODER, AdaptEncoder
from touchstone_runtime.objects import S3Objects
from touchstone_runtime.settings import RuntimeSettings
from touchstone_trainer.tasks import adapt_encoder

# Each image's loss depends on those that the other process embeds; or it shows a part of one of those.
RECIPE = Contrastive(epochs=1, batch_size=8, learning_rates=(1e-3,))
MIXED = CrossEntropy(epochs=1, batch_size=8, learning_rates=(1e-3,), batch_augmentation=CutMix())


def launch(request: AdaptEncoder, folder: Path, settings: RuntimeSettings) -> subprocess.CompletedProcess[str]:
    document = folder / "request.json"
    document.write_text(request.model_dump_json())
    environment = os.environ | {
        "TOUCHSTONE_LIBRARY": str(folder),
        "TOUCHSTONE_S3_ENDPOINT": settings.s3_endpoint,
        "TOUCHSTONE_S3_ACCESS_KEY": settings.s3_access_key,
        "TOUCHSTONE_S3_SECRET_KEY": settings.s3_secret_key.get_secret_value(),
        "TOUCHSTONE_S3_BUCKET": settings.s3_bucket,
        "TOUCHSTONE_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    launcher = Path(sys.executable).parent / "accelerate"
    # `--cpu` would start one process; `--multi_gpu` starts them all, and without a GPU they meet over gloo.
    options = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    options += ["--main_process_port", "0"]
    command = [str(launcher), "launch", *options, "--module", "touchstone_trainer.distributed", str(document)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.parametrize("recipe", [RECIPE, MIXED], ids=lambda recipe: recipe.kind)
def test_two_processes_train_what_one_trains(
    tmp_path: Path, s3_settings: RuntimeSettings, s3_objects: S3Objects, recipe: Recipe
) -> None:
    world = World(tmp_path, objects=s3_objects)
    # 21 images in batches of 8: the last batch of 5 does not divide by two.
    request = world.adapt_request(world.pool(21), size=21, learning_rate=1e-3, recipe=recipe)
    alone = adapt_encoder(request, world.tools, progress())
    finished = launch(request, tmp_path, s3_settings)
    assert finished.returncode == 0, finished.stderr[-2000:]
    together = world.artifacts.result(ADAPT_ENCODER, ADAPT_ENCODER.step_id(request))
    assert (together.training_set, together.updates) == (alone.training_set, alone.updates)
    assert together.epochs[0].train_loss == pytest.approx(alone.epochs[0].train_loss, rel=1e-3)
    assert alone.weights is not None
    assert together.weights is not None
    one, two = (load(world.artifacts.get_blob(blob)) for blob in (alone.weights, together.weights))
    assert len(one) > 10
    assert all(torch.allclose(two[name].float(), value.float(), atol=2e-4) for name, value in one.items())


def test_failed_run_ends_with_its_problem(tmp_path: Path, s3_settings: RuntimeSettings, s3_objects: S3Objects) -> None:
    world = World(tmp_path, objects=s3_objects)
    request = world.adapt_request(world.pool(20), size=20, learning_rate=None, recipe=RECIPE)
    finished = launch(request, tmp_path, s3_settings)
    assert finished.returncode != 0
    assert "contrastive needs a learning rate" in finished.stderr
