"""What tests of the generator's steps start from: a library with a tiny pipeline, a worker on it, one thread."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from touchstone_contracts.catalogue import Generator

# Imported where used: torch and diffusers are seconds that tests of other services shall not pay.
if TYPE_CHECKING:
    from support.generator_worker import GeneratorWorker


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def generator(library: Path) -> Generator:
    from support.tiny_pipeline import tiny_generator

    return tiny_generator(library)


@pytest.fixture
def worker(library: Path) -> "GeneratorWorker":
    from support.generator_worker import GeneratorWorker

    return GeneratorWorker(library)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For modules that compare bytes: torch's results repeat at one thread count only."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
