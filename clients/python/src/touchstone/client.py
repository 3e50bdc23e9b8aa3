"""The client that waits for each answer."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import httpx
import httpx_sse
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.search import SearchIn
from touchstone_contracts.uploads import Upload
from touchstone_contracts.views import DescribedKind, DescriptionView, Event, ExperimentDetail

from touchstone.api import NO_PRICES, NO_SPREAD, UPSTREAM, Api, Resource
from touchstone.calls import Call, Listing, SyncMethods
from touchstone.documents import Study, spec_document
from touchstone.downloads import unfinished
from touchstone.experiments import Experiment, check_end, entries_in_order
from touchstone.names import chosen, looks_like_id
from touchstone.paths import path_of
from touchstone.phases import FINISHED, Watcher, ignore
from touchstone.problems import ProblemError, raise_for_problem
from touchstone.searches import SearchResults, search_document, search_is_over
from touchstone.transport import DEFAULT_SERVER, Transport, read_answer

if TYPE_CHECKING:
    from touchstone.searches import Searchable

T = TypeVar("T")
GLANCE_SECONDS = 2.5
"""While waiting, a stream silent for this long is left for a look at the experiment: below the server's ping interval,
so that a deadline is noticed while nothing happens."""


class Client(Api, SyncMethods):
    """A server, whose calls return their answers.

    >>> with Client("http://127.0.0.1:8000") as client:
    ...     experiment = client.run("studies/quick-look").wait()
    ...     print(experiment.verdict)

    `key` is an API key; left out, it comes from TOUCHSTONE_API_KEY, from `touchstone login`, or from the stack that was
    started in this folder. `timeout` is in seconds. A lost connection and a busy server are tried again up to `retries`
    times, with growing pauses or those that the server asks for; requests that create something carry an idempotency
    key, so that none is carried out twice."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        key: str | None = None,
        retries: int = 6,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(server, key, retries, timeout)
        self.server = self._transport.server
        self._http = httpx.Client(**self._transport.settings(transport))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.server!r})"

    def close(self) -> None:
        self._http.close()

    def run(self, study: Study) -> Experiment:
        """Posts an experiment and returns it, to wait for and to read. `study` is a spec, a dictionary, YAML text, or
        the path of a YAML file. Re-posting a spec returns the existing experiment.

        >>> client.run({"name": "flags", "upstream": "miniverse", ...}).wait().results.to_pandas()
        """
        view, created = self.post_document(spec_document(study))
        return Experiment(self, view, created=created)

    def find(self, experiment: str) -> Experiment:
        """An experiment by its id, the beginning of its id, or its name. Raises UnknownName, which suggests the nearest
        names, and says which ids there are where several experiments have the name.

        >>> client.find("quick look").verdict
        """
        return Experiment(self, self.experiment(self.find_id(experiment)), created=False)

    def find_id(self, experiment: str) -> str:
        """As `find`: the id alone.

        >>> client.find_id("quick look")
        'exp_0123456789abcdef'
        """
        if looks_like_id(experiment):
            return experiment
        return chosen(experiment, ((each.id, each.name) for each in self.experiments()))

    def apply(self, catalogue: Catalogue) -> dict[str, int]:
        """Registers everything in a catalogue, models before what refers to them; resource -> entries that are new.

        >>> client.apply(Catalogue.model_validate(document))
        {'encoders': 1, 'generators': 1, 'upstreams': 1, 'targets': 2, 'datasets': 0}
        """
        return {
            resource: sum(self.register(resource, entry) for entry in entries)
            for resource, entries in entries_in_order(catalogue)
        }

    def upload(self, archive: Iterable[bytes]) -> Upload:
        """Keeps a zip or tar archive on the server; its `location` may stand in a document for `add`. An `archive` that
        can be iterated again, as touchstone.packing makes, is sent again where the connection breaks.

        >>> client.upload(packed(Path("birds"))).location
        'upload://default.0123456789abcdef'
        """
        with self._transport.reached():
            response = self._http.post("/v1/uploads", content=archive, **self._transport.upload())
        raise_for_problem(response)
        return Upload.model_validate_json(response.content)

    def wait_for_description(
        self,
        kind: DescribedKind,
        name: str,
        *,
        watcher: Callable[[DescriptionView], None] = ignore,
        interval: float = 1.0,
    ) -> DescriptionView:
        """The last state after `add`: `succeeded` where it was registered.

        >>> client.wait_for_description("upstream", "birds").phase
        'succeeded'
        """
        while True:
            view = self.description(kind, name)
            watcher(view)
            if view.phase in FINISHED:
                return view
            time.sleep(interval)

    def search(
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
        """The images of an upstream that are nearest to a text, to an `image` (a path, encoded bytes or a picture of
        Pillow), or to an image of its own whose id is `like`. `search_in` says what is compared: the embeddings of
        `images` or of `captions`, or the `words` of captions. Files that are not ingested yet are not searched.

        Raises StillRunning after `timeout` seconds; the search goes on, and the same search again finds its answer.

        >>> client.search("miniverse", "a flag with a red circle").results[0].caption
        'flag of Japan'
        """
        started = time.monotonic()
        found = self.start_search(upstream, search_document(text, image, like, limit, search_in))
        while not search_is_over(found, time.monotonic() - started, timeout):
            time.sleep(interval)
            found = self.search_state(upstream, found.id)
        return found

    def save_predictions(self, experiment: str, file: Path) -> int:
        """Which test images every finished run got right, as parquet; the bytes written. An interrupted download
        leaves no file.

        >>> client.save_predictions("exp_0123456789abcdef", Path("predictions.parquet"))
        48213
        """
        path = path_of("experiments", experiment, "predictions")
        with unfinished(file) as written, self._http.stream("GET", path) as response:
            if response.is_error:
                response.read()
            raise_for_problem(response)
            return sum(written.write(piece) for piece in response.iter_bytes())

    def events(self, experiment: str, after: int | None = None, *, silence: float = 60.0) -> Iterator[Event]:
        """The history as it happens, from the event after `after`; ends when the experiment does.

        Raises httpx.TransportError when the stream breaks, or not even a ping came for `silence` seconds.

        >>> for event in client.events("exp_0123456789abcdef"):
        ...     print(event.event)
        """
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        path, timeout = path_of("experiments", experiment, "events"), httpx.Timeout(30.0, read=silence)
        with httpx_sse.connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source:
            if source.response.is_error:
                source.response.read()
            raise_for_problem(source.response)
            if source.response.status_code == httpx.codes.NO_CONTENT:
                return  # it has ended, and nothing came after `after`
            for message in source.iter_sse():
                if message.data:
                    yield Event.model_validate_json(message.data)

    def wait(
        self, experiment: str, *, watcher: Watcher = ignore, interval: float = 1.0, timeout: float | None = None
    ) -> ExperimentDetail:
        """Waits for the end over server-sent events, by polling where the stream breaks.

        `watcher` sees the experiment at most once per `interval` seconds, and its last state for certain.
        Raises ExperimentFailed unless the experiment succeeded, StillRunning (a TimeoutError) after `timeout` seconds.

        >>> client.wait("exp_0123456789abcdef", timeout=3600).phase
        'succeeded'
        """
        started = time.monotonic()
        for detail in self._states(experiment, interval):
            watcher(detail)
            if check_end(detail, time.monotonic() - started, timeout):
                return detail
        raise AssertionError("states never end")

    def _states(self, experiment: str, interval: float) -> Iterator[ExperimentDetail]:
        """The experiment now, then whenever something happened, then every `interval` seconds."""
        last: int | None = None
        while True:
            yield self.experiment(experiment)
            shown = time.monotonic()
            try:
                for event in self.events(experiment, last, silence=GLANCE_SECONDS):
                    last = event.id
                    if time.monotonic() - shown >= interval:
                        yield self.experiment(experiment)
                        shown = time.monotonic()
            except httpx.TransportError:
                pass  # a broken stream is no news about the experiment: look, then listen again
            time.sleep(max(0.0, interval - (time.monotonic() - shown)))

    def require_answer(self, seconds: float) -> None:
        """Raises Unreachable unless the server answers anything within `seconds`, without a second try.

        >>> client.require_answer(2.5)
        """
        with self._transport.reached():
            self._http.get("/healthz", timeout=seconds, extensions={"retry": self._transport.at_once})

    def send(self, call: Call[T]) -> T:
        """Sends a described call. The methods do this for you."""
        with self._transport.reached():
            response = self._http.request(**self._transport.request(call))
        raise_for_problem(response)
        return read_answer(call, response, self.server)

    def send_pages(self, listing: Listing[T]) -> Iterator[T]:
        cursor: str | None = None
        while True:
            page = self.send(listing.call(cursor))
            yield from page.items  # type: ignore[attr-defined]  # pages have them, each of its own kind
            cursor = page.next_cursor
            if cursor is None:
                return


__all__ = ["DEFAULT_SERVER", "FINISHED", "NO_PRICES", "NO_SPREAD", "UPSTREAM", "Client", "ProblemError", "Resource",
           "Watcher"]  # fmt: skip
