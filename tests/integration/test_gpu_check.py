"""`make gpu-check` without a GPU: every check at small sizes on the CPU, and that a wrong result is seen.

On a CPU the device's results are compared with themselves, so parity shows that a check works and holds in reduced
precision; what a card computes is seen on a card alone."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu import __main__ as command
from gpu import recipes, sampling
from gpu.checks import CHECKS
from gpu.findings import CPU, Setting, close, close_pixels
from gpu.model_configs import UNET, UNET_PARAMETERS, VIT_B_16, VIT_B_16_PARAMETERS
from gpu.runner import LIMIT_S, Check, run


@pytest.fixture(autouse=True)
def torch_as_it_was() -> Iterator[None]:
    """Every check sets torch up as its worker does; the tests that follow find it as they left it."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    workspace, threads = os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None), torch.get_num_threads()
    torch.set_num_threads(1)  # small models on a busy machine: more threads wait for each other
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = flags
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
    if workspace is not None:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(CPU, tmp_path_factory.mktemp("gpu"), small=True)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_runs_on_a_cpu_at_small_sizes(check: Check, setting: Setting) -> None:
    record = run(check, setting)
    assert record.outcome == "ran"
    assert [finding for finding in record.findings if finding.passed is False] == []
    assert len(record.findings) == check.small_findings


def test_all_checks_fit_their_time_together() -> None:
    assert sum(check.budget_s for check in CHECKS) <= LIMIT_S <= 7.5 * 60


def test_images_of_another_scheduler_are_seen(setting: Setting) -> None:
    generator = sampling.loaded(setting, torch.float32, CPU)
    drafts = sampling.DRAFTS[:2]
    right, wrong = (
        sampling.generated(generator, sampling.sampler(setting, scheduler), drafts) for scheduler in ("ddim", "euler")
    )
    assert close_pixels("x", wrong, right, sampling.TOLERANCES[torch.float32]).passed is False


def test_training_with_a_slightly_wrong_learning_rate_is_seen(setting: Setting) -> None:
    case = recipes.CASES[0]
    tower = recipes.load(setting.folder, case.model, CPU)
    before = dict(recipes.untouched(tower).state_dict())
    assert case.learning_rate is not None
    right, wrong = (
        recipes.trained(tower, replace(case, learning_rate=rate), "fp32")
        for rate in (case.learning_rate, 1.1 * case.learning_rate)
    )
    found, wanted = (recipes.change_of(adapted.weights, before) for adapted in (wrong, right))
    assert close("x", found, wanted, recipes.CHANGE_TOLERANCES["fp32"]).passed is False


def test_the_real_models_are_built_to_their_size() -> None:
    import open_clip
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        clip = open_clip.CLIP(**VIT_B_16)
        unet = UNet2DConditionModel(**UNET)
    counted = [sum(parameter.numel() for parameter in model.parameters()) for model in (clip, unet)]
    assert counted == [VIT_B_16_PARAMETERS, UNET_PARAMETERS]


def test_without_a_gpu_the_command_says_so_and_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert command.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No CUDA device here: nothing was checked.")
    assert said.count("\n") == 1


def test_a_failed_check_is_named_and_fails_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    broken = replace(CHECKS[0], name="broken", run=lambda setting: iter([close("x", np.ones(2), np.zeros(2), 1.0)]))
    records = command.check([broken, CHECKS[1]], CPU, small=True)
    assert command.summarise(records) == 1
    assert "1 of 2 checks passed; not broken" in capsys.readouterr().out
