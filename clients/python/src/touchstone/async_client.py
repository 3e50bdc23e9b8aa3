"""The client whose calls are awaited: the methods of Client under the same names."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import httpx
import httpx_sse
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.search import SearchIn
from touchstone_contracts.uploads import Upload
from touchstone_contracts.views import DescribedKind, DescriptionView, Event, ExperimentDetail

from touchstone.api import Api
from touchstone.calls import AsyncMethods, Call, Listing
from touchstone.documents import Study, spec_document
from touchstone.downloads import unfinished
from touchstone.experiments import AsyncExperiment, check_end, entries_in_order
from touchstone.names import chosen, looks_like_id
from touchstone.paths import path_of
from touchstone.phases import FINISHED, Watcher, ignore
from touchstone.problems import raise_for_problem
from touchstone.searches import SearchResults, search_document, search_is_over
from touchstone.transport import DEFAULT_SERVER, Transport, read_answer

if TYPE_CHECKING:
    from touchstone.searches import Searchable

T = TypeVar("T")


class AsyncClient(Api, AsyncMethods):
    """A server, whose calls are awaited. Methods and arguments are those of Client; lists are asynchronous iterators.

    >>> async with AsyncClient("http://127.0.0.1:8000") as client:
    ...     experiment = await client.run("studies/quick-look")
    ...     print(await (await experiment.wait()).verdict())
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        key: str | None = None,
        retries: int = 6,
        timeout: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._transport = Transport(server, key, retries, timeout)
        self.server = self._transport.server
        self._http = httpx.AsyncClient(**self._transport.settings(transport))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self.server!r})"

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, study: Study) -> AsyncExperiment:
        """As Client.run.

        >>> experiment = await client.run("studies/quick-look")
        """
        view, created = await self.post_document(spec_document(study))
        return AsyncExperiment(self, view, created=created)

    async def find(self, experiment: str) -> AsyncExperiment:
        """As Client.find.

        >>> experiment = await client.find("quick look")
        """
        return AsyncExperiment(self, await self.experiment(await self.find_id(experiment)), created=False)

    async def find_id(self, experiment: str) -> str:
        """As Client.find_id.

        >>> await client.find_id("quick look")
        'exp_0123456789abcdef'
        """
        if looks_like_id(experiment):
            return experiment
        return chosen(experiment, [(each.id, each.name) async for each in self.experiments()])

    async def apply(self, catalogue: Catalogue) -> dict[str, int]:
        """As Client.apply.

        >>> await client.apply(Catalogue.model_validate(document))
        """
        return {
            resource: sum([await self.register(resource, entry) for entry in entries])
            for resource, entries in entries_in_order(catalogue)
        }

    async def upload(self, archive: Iterable[bytes]) -> Upload:
        """As Client.upload.

        >>> (await client.upload(packed(Path("birds")))).location
        'upload://default.0123456789abcdef'
        """
        with self._transport.reached():
            response = await self._http.post("/v1/uploads", content=_Pieces(archive), **self._transport.upload())
        raise_for_problem(response)
        return Upload.model_validate_json(response.content)

    async def wait_for_description(
        self,
        kind: DescribedKind,
        name: str,
        *,
        watcher: Callable[[DescriptionView], None] = ignore,
        interval: float = 1.0,
    ) -> DescriptionView:
        """As Client.wait_for_description.

        >>> (await client.wait_for_description("upstream", "birds")).phase
        'succeeded'
        """
        while True:
            view = await self.description(kind, name)
            watcher(view)
            if view.phase in FINISHED:
                return view
            await asyncio.sleep(interval)

    async def search(
        self,
        upstream: str,
        text: str | None = None,
        *,
        image: "Searchable | None" = None,
        like: str | None = None,
        limit: int = 12,
        search_in: SearchIn = "images",
        timeout: float = 60.0,
        interval: float = 0.5,
    ) -> SearchResults:
        """As Client.search.

        >>> (await client.search("miniverse", "a flag with a red circle")).results[0].caption
        'flag of Japan'
        """
        started = time.monotonic()
        found = await self.start_search(upstream, search_document(text, image, like, limit, search_in))
        while not search_is_over(found, time.monotonic() - started, timeout):
            await asyncio.sleep(interval)
            found = await self.search_state(upstream, found.id)
        return found

    async def save_predictions(self, experiment: str, file: Path) -> int:
        """As Client.save_predictions.

        >>> await client.save_predictions("exp_0123456789abcdef", Path("predictions.parquet"))
        """
        path = path_of("experiments", experiment, "predictions")
        with unfinished(file) as written:
            async with self._http.stream("GET", path) as response:
                if response.is_error:
                    await response.aread()
                raise_for_problem(response)
                return sum([written.write(piece) async for piece in response.aiter_bytes()])

    async def events(self, experiment: str, after: int | None = None, *, silence: float = 60.0) -> AsyncIterator[Event]:
        """As Client.events.

        >>> async for event in client.events("exp_0123456789abcdef"):
        ...     print(event.event)
        """
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        path, timeout = path_of("experiments", experiment, "events"), httpx.Timeout(30.0, read=silence)
        async with httpx_sse.aconnect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source:
            if source.response.is_error:
                await source.response.aread()
            raise_for_problem(source.response)
            if source.response.status_code == httpx.codes.NO_CONTENT:
                return  # it has ended, and nothing came after `after`
            async for message in source.aiter_sse():
                if message.data:
                    yield Event.model_validate_json(message.data)

    async def wait(
        self, experiment: str, *, watcher: Watcher = ignore, interval: float = 1.0, timeout: float | None = None
    ) -> ExperimentDetail:
        """As Client.wait, by asking every `interval` seconds.

        >>> (await client.wait("exp_0123456789abcdef")).phase
        'succeeded'
        """
        started = time.monotonic()
        while True:
            detail = await self.experiment(experiment)
            watcher(detail)
            if check_end(detail, time.monotonic() - started, timeout):
                return detail
            await asyncio.sleep(interval)

    async def send(self, call: Call[T]) -> T:
        """Sends a described call. The methods do this for you."""
        with self._transport.reached():
            response = await self._http.request(**self._transport.request(call))
        raise_for_problem(response)
        return read_answer(call, response, self.server)

    async def send_pages(self, listing: Listing[T]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self.send(listing.call(cursor))
            for item in page.items:  # type: ignore[attr-defined]  # pages have them, each of its own kind
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return


class _Pieces:
    """The pieces of an archive, from the beginning each time that they are asked for."""

    def __init__(self, archive: Iterable[bytes]) -> None:
        self._archive = archive

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._archive:
            yield piece
