"""The REST API as typed calls. Every call raises ProblemError where the server refuses."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
import httpx_sse
from httpx_retries import Retry, RetryTransport
from pydantic import BaseModel
from touchstone_contracts.access import (
    AuditEntry,
    AuditPage,
    CreatedKey,
    KeyPage,
    KeyView,
    NewKey,
    ProjectView,
    Scope,
)
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET, Catalogue, Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.power import DeclaredSpread
from touchstone_contracts.uploads import Upload
from touchstone_contracts.views import (
    ArmCuration,
    ClassTable,
    DescribedKind,
    DescriptionView,
    Estimation,
    Event,
    ExperimentAccount,
    ExperimentDetail,
    ExperimentManifest,
    ExperimentPage,
    ExperimentView,
    ImagePage,
    ImageView,
    LabelCards,
    LinkReport,
    Page,
    Prices,
    Results,
    Scaling,
    SourceAccount,
    StepDetail,
    StepPage,
    StepState,
    StepView,
    Storage,
    TakedownPage,
    TakedownView,
    TargetAccount,
    UpstreamView,
    Validation,
    Verdict,
)

from touchstone.credentials import find_key
from touchstone.problems import ExperimentFailed, ProblemError, raise_for_problem

DEFAULT_SERVER = "http://127.0.0.1:8000"
GLANCE_SECONDS = 2.5
"""While waiting, a stream silent for this long is left for a look at the experiment: below the server's ping interval,
so that a deadline is noticed while nothing happens."""
UPLOAD_ANSWER_SECONDS = 600.0
"""For one part of an archive to be taken, and for the answer to its last one."""
FINISHED = frozenset({"succeeded", "failed", "cancelled"})
Resource = Literal["upstreams", "targets", "datasets", "encoders", "generators"]

NO_PRICES = Prices()
NO_SPREAD = DeclaredSpread()

UPSTREAM = "upstream/"
"""Before its name, where an upstream may stand instead of an experiment."""

ViewT = TypeVar("ViewT", bound=BaseModel)
PageT = TypeVar("PageT", bound=Page)
Watcher = Callable[[ExperimentDetail], None]


def given(**query: str | None) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}


def _place(owner: str) -> str:
    """The address of an experiment, `exp_...`, or of an upstream, `upstream/NAME`."""
    if owner.startswith(UPSTREAM):
        return f"/v1/upstreams/{owner.removeprefix(UPSTREAM)}"
    return f"/v1/experiments/{owner}"


def ignore(_: object) -> None:
    """For callers who only want the end."""


class Client:
    """`with Client("http://127.0.0.1:8000") as client: client.post(spec)`.

    `key`: an API key; left out, it comes from TOUCHSTONE_API_KEY, from `touchstone login`, or from the stack that was
    started in this folder.

    Connection errors and 502, 503, 504 are retried with growing pauses: every call is safe to repeat, because
    experiments and registrations are named by their content."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        key: str | None = None,
        retries: int = 6,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        retry = Retry(
            total=retries,
            allowed_methods=("GET", "POST", "PUT", "DELETE"),
            status_forcelist=(502, 503, 504),
            backoff_factor=0.25,
            max_backoff_wait=5.0,
        )
        self.server = server.rstrip("/")
        known = key or find_key(self.server)
        self._http = httpx.Client(
            base_url=self.server,
            timeout=timeout,
            headers={} if known is None else {"Authorization": f"Bearer {known}"},
            transport=RetryTransport(transport=transport, retry=retry),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # Catalogue

    def register(self, resource: Resource, entry: Encoder | Generator | Upstream | Target | Dataset) -> bool:
        """True when it is new, False when the identical entry was there. Raises ProblemError (409) when the name
        means something else already."""
        response = self._call("POST", f"/v1/{resource}", json=entry.model_dump(mode="json"))
        return response.status_code == httpx.codes.CREATED

    def apply(self, catalogue: Catalogue) -> dict[str, int]:
        """Registers everything in a catalogue, models before what refers to them; resource -> entries that are new."""
        groups: tuple[tuple[Resource, tuple[Any, ...]], ...] = (
            ("encoders", catalogue.encoders),
            ("generators", catalogue.generators),
            ("upstreams", catalogue.upstreams),
            ("targets", catalogue.targets),
            ("datasets", catalogue.datasets),
        )
        return {resource: sum(self.register(resource, entry) for entry in entries) for resource, entries in groups}

    def upload(self, archive: Iterable[bytes]) -> Upload:
        """Keeps a zip or tar archive on the server; its `location` may stand in a document for `add`. `archive`: one
        that can be iterated again, as touchstone.packing makes, is sent again where the connection breaks."""
        headers = {"Content-Type": "application/zip"}
        timeout = httpx.Timeout(30.0, read=UPLOAD_ANSWER_SECONDS, write=UPLOAD_ANSWER_SECONDS)
        response = self._call("POST", "/v1/uploads", content=archive, headers=headers, timeout=timeout)
        return Upload.model_validate_json(response.content)

    def add(self, kind: DescribedKind, document: dict[str, Any]) -> DescriptionView:
        """Has a worker look at the `location` of the document; what it finds is registered. The same again is the
        same."""
        response = self._call("POST", f"/v1/{kind}s", json=document)
        return DescriptionView.model_validate_json(response.content)

    def description(self, kind: DescribedKind, name: str) -> DescriptionView:
        """How far looking at its location is."""
        return self._get(f"/v1/descriptions/{kind}/{name}", DescriptionView)

    def wait_for_description(
        self,
        kind: DescribedKind,
        name: str,
        *,
        watcher: Callable[[DescriptionView], None] = ignore,
        interval: float = 1.0,
    ) -> DescriptionView:
        """The last state: `succeeded` where it was registered."""
        while True:
            view = self.description(kind, name)
            watcher(view)
            if view.phase in FINISHED:
                return view
            time.sleep(interval)

    def upstream(self, name: str) -> UpstreamView:
        """The upstream with the phase and progress of its ingest."""
        return self._get(f"/v1/upstreams/{name}", UpstreamView)

    def target(self, name: str) -> Target:
        return self._get(f"/v1/targets/{name}", Target)

    def target_account(self, name: str) -> TargetAccount:
        """What came in of each split so far."""
        return self._get(f"/v1/targets/{name}/account", TargetAccount)

    def dataset_account(self, name: str) -> SourceAccount:
        return self._get(f"/v1/datasets/{name}/account", SourceAccount)

    # Experiments

    def post(self, spec: ExperimentSpec) -> tuple[ExperimentView, bool]:
        """The experiment, and whether this call created it: the same spec again gives the first experiment."""
        return self.post_document(spec.model_dump(mode="json"))

    def post_document(self, document: dict[str, Any]) -> tuple[ExperimentView, bool]:
        """As `post`, for a document that the server shall judge."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        response = self._call("POST", "/v1/experiments", json=document, headers=headers)
        return ExperimentView.model_validate_json(response.content), response.status_code == httpx.codes.CREATED

    def validate(self, document: dict[str, Any]) -> Validation:
        """Says what would happen; creates nothing."""
        response = self._call("POST", "/v1/experiments/validate", json=document)
        return Validation.model_validate_json(response.content)

    def estimate(self, document: dict[str, Any], spread: DeclaredSpread = NO_SPREAD) -> Estimation:
        """Says what it would cost and could show; creates nothing. `spread`: what is known of it, else the server takes
        that of earlier experiments."""
        given = spread.model_dump(exclude_none=True)
        response = self._call("POST", "/v1/experiments/estimate", json=document, params=given)
        return Estimation.model_validate_json(response.content)

    def experiment(self, experiment: str) -> ExperimentDetail:
        return self._get(f"/v1/experiments/{experiment}", ExperimentDetail)

    def experiments(self) -> Iterator[ExperimentView]:
        """All of them, the newest first, page by page."""
        for page in self._pages("/v1/experiments", ExperimentPage):
            yield from page.items

    def delete(self, experiment: str) -> None:
        """It is gone with its history and verdict; what it computed stays until it is collected. Raises ProblemError
        while it is active."""
        self._call("DELETE", f"/v1/experiments/{experiment}")

    def cancel(self, experiment: str) -> ExperimentView:
        return self._act(experiment, "cancel")

    def retry(self, experiment: str) -> ExperimentView:
        """Failed steps get all their attempts again; a cancelled experiment goes on."""
        return self._act(experiment, "retry")

    def cancel_upstream(self, name: str) -> UpstreamView:
        """Stops its ingest; experiments that wait for it fail."""
        return UpstreamView.model_validate_json(self._call("POST", f"/v1/upstreams/{name}/cancel").content)

    def retry_upstream(self, name: str) -> UpstreamView:
        """Failed steps of the ingest get all their attempts again; a cancelled one goes on."""
        return UpstreamView.model_validate_json(self._call("POST", f"/v1/upstreams/{name}/retry").content)

    def clone(self, experiment: str, changes: dict[str, Any]) -> ExperimentView:
        """A new experiment from an old one's spec and what differs: objects merge, anything else replaces."""
        response = self._call("POST", f"/v1/experiments/{experiment}/clone", json=changes)
        return ExperimentView.model_validate_json(response.content)

    def takedowns(self) -> Iterator[TakedownView]:
        """Images that no step uses any more, with the experiments whose results were computed with them."""
        for page in self._pages("/v1/takedowns", TakedownPage):
            yield from page.items

    def storage(self) -> Storage:
        """How many bytes results hold, and whose they are."""
        return self._get("/v1/storage", Storage)

    # Steps; `owner` is an experiment's id, or upstream/NAME for the ingest of an upstream

    def steps(self, owner: str, *, state: StepState | None = None, prefix: str = "") -> Iterator[StepView]:
        """In an order in which they can be done; of those in `state`, whose ids begin with `prefix`."""
        query = given(state=state, prefix=prefix or None)
        for page in self._pages(f"{_place(owner)}/steps", StepPage, query):
            yield from page.items

    def step(self, owner: str, step: str) -> StepDetail:
        """With its inputs, worker and times and, where an attempt failed, the end of the worker's log."""
        return self._get(f"{_place(owner)}/steps/{step}", StepDetail)

    def retry_step(self, owner: str, step: str) -> StepDetail:
        """A failed step gets all its attempts again. Raises ProblemError (409) for any other."""
        response = self._call("POST", f"{_place(owner)}/steps/{step}/retry")
        return StepDetail.model_validate_json(response.content)

    # Results

    def results(self, experiment: str) -> Results:
        return self._get(f"/v1/experiments/{experiment}/results", Results)

    def results_csv(self, experiment: str) -> str:
        return self._call("GET", f"/v1/experiments/{experiment}/results", params={"format": "csv"}).text

    def account(self, experiment: str) -> ExperimentAccount:
        """What came in of its sources so far, and what is to be known of what it generated."""
        return self._get(f"/v1/experiments/{experiment}/account", ExperimentAccount)

    def save_predictions(self, experiment: str, file: Path) -> int:
        """Which test images every finished run got right, as parquet; the bytes written. An interrupted download
        leaves no file."""
        unfinished = file.with_name(f"{file.name}.part")
        try:
            with self._http.stream("GET", f"/v1/experiments/{experiment}/predictions") as response:
                raise_for_problem(response)
                with unfinished.open("wb") as written:
                    size = sum(written.write(piece) for piece in response.iter_bytes())
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
        return size

    def verdict(self, experiment: str, *, prices: Prices = NO_PRICES) -> Verdict:
        """Costs come in money too where a price is given here or in the server's settings."""
        return self._get(f"/v1/experiments/{experiment}/verdict", Verdict, params=prices.model_dump(exclude_none=True))

    def registration(self, experiment: str) -> str:
        """What was declared when it was posted, as it was stored: its sha256 is the `digest` of the verdict's. Raises
        ProblemError (404) where a release of before registrations stored the experiment."""
        return self._call("GET", f"/v1/experiments/{experiment}/registration").text

    def manifest(self, experiment: str) -> ExperimentManifest:
        """What decides the numbers, with digests."""
        return self._get(f"/v1/experiments/{experiment}/manifest", ExperimentManifest)

    def scaling(self, experiment: str) -> Scaling:
        """Accuracy as a power law of size, for every arm that has finished."""
        return self._get(f"/v1/experiments/{experiment}/scaling", Scaling)

    def classes(
        self,
        experiment: str,
        arm: str,
        size: int,
        *,
        metric: Metric | None = None,
        target: str | None = None,
        test_set: str = MAIN_TEST_SET,
    ) -> ClassTable:
        """By class, the largest losses against the untouched encoder first. `target` may be left out where there is
        one, `metric` is then the first measured. Raises ProblemError (409) until every seed is in."""
        query = {"arm": arm, "size": size, "test_set": test_set} | given(metric=metric, target=target)
        return self._get(f"/v1/experiments/{experiment}/classes", ClassTable, params=query)

    def label_cards(self, experiment: str) -> LabelCards:
        """How right and how evenly spread the labels of each arm's images are, as far as it is measured."""
        return self._get(f"/v1/experiments/{experiment}/labels", LabelCards)

    def arm_curation(self, experiment: str, arm: str, target: str | None = None) -> ArmCuration:
        """Images by stage and by class, before and after, with the reasons."""
        return self._get(f"/v1/experiments/{experiment}/arms/{arm}", ArmCuration, params=given(target=target))

    def arm_links(self, experiment: str, arm: str, target: str | None = None) -> LinkReport:
        """What the retrieved links gave. Raises ProblemError (404) where no image comes from a link."""
        return self._get(f"/v1/experiments/{experiment}/arms/{arm}/links", LinkReport, params=given(target=target))

    def arm_images(self, experiment: str, arm: str, target: str, **params: Any) -> ImagePage:
        query = {"target": target} | params
        return self._get(f"/v1/experiments/{experiment}/arms/{arm}/images", ImagePage, params=query)

    def image(self, shown: ImageView) -> bytes:
        """The file of one image of a page."""
        return self._call("GET", shown.url).content

    def events(self, experiment: str, after: int | None = None, *, silence: float = 60.0) -> Iterator[Event]:
        """The history as it happens, from the event after `after`; ends when the experiment does.

        Raises httpx.TransportError when the stream breaks, or not even a ping came for `silence` seconds."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        path, timeout = f"/v1/experiments/{experiment}/events", httpx.Timeout(30.0, read=silence)
        with httpx_sse.connect_sse(self._http, "GET", path, headers=headers, timeout=timeout) as source:
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
        Raises ExperimentFailed unless the experiment succeeded, TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for detail in self._states(experiment, interval):
            watcher(detail)
            if detail.phase in FINISHED:
                break
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"experiment {experiment} is still {detail.phase} after {timeout:.0f} s")
        if detail.phase != "succeeded":
            raise ExperimentFailed(detail)
        return detail

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

    # Keys, of the project that the client's own key belongs to

    def project(self) -> ProjectView:
        """With its limits, and how much of them is used."""
        return self._get("/v1/project", ProjectView)

    def create_key(self, label: str, scope: Scope = "read", expires_in_days: int | None = None) -> CreatedKey:
        """The answer holds the key itself, this once. Needs the scope `admin`, as all calls about keys."""
        wanted = NewKey(label=label, scope=scope, expires_in_days=expires_in_days)
        response = self._call("POST", "/v1/keys", json=wanted.model_dump(mode="json"))
        return CreatedKey.model_validate_json(response.content)

    def keys(self) -> Iterator[KeyView]:
        """The revoked and expired ones too."""
        for page in self._pages("/v1/keys", KeyPage):
            yield from page.items

    def revoke_key(self, key_id: str) -> None:
        """From the next request on nobody gets in with it."""
        self._call("DELETE", f"/v1/keys/{key_id}")

    def audit(self) -> Iterator[AuditEntry]:
        """Who did what, the newest first."""
        for page in self._pages("/v1/audit", AuditPage):
            yield from page.items

    def share(self, thing: str, *, shared: bool = True) -> None:
        """Other projects may read it from now on, or no longer. `thing`: an experiment's id, or `targets/NAME`,
        `upstreams/NAME` and so on."""
        place = thing if "/" in thing else f"experiments/{thing}"
        self._call("PUT" if shared else "DELETE", f"/v1/{place}/share")

    # Calls

    def _act(self, experiment: str, action: str) -> ExperimentView:
        response = self._call("POST", f"/v1/experiments/{experiment}/{action}")
        return ExperimentView.model_validate_json(response.content)

    def _pages(self, path: str, page: type[PageT], query: dict[str, str] | None = None) -> Iterator[PageT]:
        cursor: str | None = None
        while True:
            found = self._get(path, page, params=(query or {}) | given(cursor=cursor))
            yield found
            cursor = found.next_cursor
            if cursor is None:
                return

    def _get(self, path: str, view: type[ViewT], params: dict[str, Any] | None = None) -> ViewT:
        return view.model_validate_json(self._call("GET", path, params=params).content)

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self._http.request(method, path, **options)
        raise_for_problem(response)
        return response


__all__ = ["DEFAULT_SERVER", "FINISHED", "Client", "ProblemError", "Watcher"]
