"""An installation in this process whose upstream can be searched: the mini CLIP, and images that it was made for."""

import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi.testclient import TestClient
from support.memory_services import MemoryReports, api_client, memory_services
from support.mini_encoders import MINIVERSE, pictures
from support.tiny_images import write_source
from support.workers_here import AT_ONCE, WorkersHere, work_to_the_end, workers_here
from touchstone_api.bootstrap import Services
from touchstone_conductor.conductor import Conductor
from touchstone_contracts.catalogue import Encoder, Upstream
from touchstone_runtime.digests import folder_digest
from touchstone_runtime.presence import MemoryPresence

NAME = "pictures"


@dataclass(frozen=True)
class Searchable:
    api: TestClient
    services: Services
    workers: WorkersHere
    images: tuple[bytes, ...]
    """Of the upstream, in its order; the first is there twice."""
    captions: tuple[str, ...]

    @property
    def reports(self) -> MemoryReports:
        return self.workers.reports

    def work(self) -> None:
        work_to_the_end(self.services, self.workers)


@contextmanager
def searchable(folder: Path) -> Iterator[Searchable]:
    """With the upstream `pictures` of two files, ingested."""
    library, services = folder / "library", memory_services(folder)
    shutil.copytree(MINIVERSE / "models/mini-clip", library / "mini-clip")
    images, captions = (*pictures().images, pictures().images[0]), (*pictures().captions, "the first one again")
    halves = slice(len(images) // 2), slice(len(images) // 2, None)
    upstream = Upstream(
        name=NAME,
        shards=tuple(
            write_source(library, f"{NAME}-{number}", _rows(images[half], captions[half], number))
            for number, half in enumerate(halves)
        ),
        index_encoder="mini-clip",
    )
    encoder = Encoder(name="mini-clip", model="library:mini-clip", digest=folder_digest(library / "mini-clip"))
    with workers_here(services.artifacts, library, folder) as workers, api_client(services) as api:
        for plural, entry in (("encoders", encoder), ("upstreams", upstream)):
            answer = api.post(f"/v1/{plural}", json=entry.model_dump(mode="json"))
            assert answer.status_code == 201, answer.text
        found = Searchable(api, services, workers, images, captions)
        found.work()
        yield found


def _rows(images: Sequence[bytes], captions: Sequence[str], number: int) -> list[dict[str, object]]:
    return [
        {"key": f"{number}-{row}", "image": image, "caption": caption}
        for row, (image, caption) in enumerate(zip(images, captions, strict=True))
    ]


@contextmanager
def at_work(world: Searchable) -> Iterator[None]:
    """A conductor and its workers go on in a thread of their own, as they would beside an api."""
    conductor = Conductor(
        world.services.store,
        world.services.artifacts,
        world.reports,
        world.workers,
        MemoryPresence(clock=lambda: 0.0),
        limits=AT_ONCE,
    )
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(0.05):
            conductor.cycle(0)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=60)
