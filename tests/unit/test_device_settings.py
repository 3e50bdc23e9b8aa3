"""What CUDA is told, and what is done for its sake, as far as it can be seen without a GPU."""

import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from touchstone_encoders import devices as encoder_devices
from touchstone_encoders.embedding import BATCH, decoding_threads, filled_batch
from touchstone_encoders.loading import pick_device
from touchstone_generator import devices as generator_devices
from touchstone_trainer.determinism import NO_KERNEL, repeatable

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def torch_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Given back as they were."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    enabled = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn.benchmark = True
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
    torch.use_deterministic_algorithms(enabled, warn_only=warns)


@pytest.mark.parametrize("configure", [encoder_devices.configure_torch, generator_devices.configure_torch])
def test_kernels_are_deterministic_and_fp32_is_fp32(configure: Callable[[int], None], torch_settings: None) -> None:
    configure(0)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("count", [1, 63, 64])
def test_a_batch_for_a_gpu_always_has_the_same_shape(count: int) -> None:
    rows = torch.arange(count * 6).view(count, 2, 3)
    filled = filled_batch(rows, CUDA)
    assert filled.shape == (BATCH, 2, 3)
    assert torch.equal(filled[:count], rows)
    assert torch.equal(filled[count:], rows[-1:].expand(BATCH - count, 2, 3))


def test_a_batch_for_a_cpu_is_left_as_it_is() -> None:
    rows = torch.ones(5, 2)
    assert filled_batch(rows, CPU) is rows


def test_files_for_a_gpu_are_decoded_by_several_threads_where_there_are_cores() -> None:
    assert decoding_threads(CPU) == 1
    assert decoding_threads(CUDA) == min(8, os.cpu_count() or 1)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1"])
def test_a_named_device_is_taken_whatever_there_is(name: str) -> None:
    assert pick_device(name) == torch.device(name)


def test_training_on_a_gpu_is_strict_and_puts_the_mode_back(torch_settings: None) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    modes = []

    def work() -> int:
        modes.append(torch.is_deterministic_algorithms_warn_only_enabled())
        return 7

    assert (repeatable(work, CUDA), repeatable(work, CPU)) == (7, 7)
    assert modes == [False, True]
    assert torch.is_deterministic_algorithms_warn_only_enabled()


def test_a_model_without_deterministic_kernels_trains_all_the_same(torch_settings: None) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    calls = []

    def pool_backwards() -> np.ndarray:
        calls.append(torch.is_deterministic_algorithms_warn_only_enabled())
        if not calls[-1]:
            raise RuntimeError(f"max_pool2d_with_indices_backward_cuda {NO_KERNEL}, but you set ...")
        return np.ones(2)

    assert repeatable(pool_backwards, CUDA).sum() == 2
    assert calls == [False, True]


def test_another_error_in_training_is_not_tried_again() -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        repeatable(fail, CUDA)
    assert len(calls) == 1
