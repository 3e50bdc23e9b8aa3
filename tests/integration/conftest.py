"""What tests of several files start from: services on either database, a web server; of the generator's steps a library
with a tiny pipeline, a worker on it, one thread."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.memory_services import memory_services, on_postgres
from support.served_files import serving_files
from touchstone_api.bootstrap import Services
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


@pytest.fixture(params=["sqlite", "postgres"])
def either_database(request: pytest.FixtureRequest, tmp_path: Path) -> Services:
    """Services without servers, but for the database."""
    services = memory_services(tmp_path)
    return on_postgres(services, request.getfixturevalue("postgres_url")) if request.param == "postgres" else services


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving_files(folder) as address:
        yield address, folder
