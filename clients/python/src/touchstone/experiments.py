"""An experiment in Python: wait for it, read its results and verdict, stop it, repeat it with changes."""

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Self

from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.views import ExperimentDetail, ExperimentView, Phase

from touchstone.answers import Results, Verdict
from touchstone.api import Entry, Resource
from touchstone.phases import FINISHED
from touchstone.problems import ExperimentFailed, StillRunning
from touchstone.progress import showing_progress_here

if TYPE_CHECKING:
    from touchstone.async_client import AsyncClient
    from touchstone.client import Client
    from touchstone.figures import Plot


class Described:
    """What both kinds of experiment know without asking the server again."""

    def __init__(self, server: str, view: ExperimentView, *, created: bool) -> None:
        self._server = server
        self.view = view
        """As the server told last."""
        self.created = created
        """Whether this call created it: re-posting a spec returns the existing experiment."""

    @property
    def id(self) -> str:
        return self.view.id

    @property
    def name(self) -> str:
        return self.view.name

    @property
    def phase(self) -> Phase:
        """As the server told last; `refresh` asks again."""
        return self.view.phase

    @property
    def spec(self) -> ExperimentSpec:
        return self.view.readable_spec

    @property
    def url(self) -> str:
        """Its page."""
        return f"{self._server}/experiments/{self.id}"

    def __repr__(self) -> str:
        steps = self.view.steps
        return f"<experiment {self.id} {self.name!r}: {self.phase}, {steps.succeeded} of {steps.total} steps done>"

    def _repr_html_(self) -> str:
        steps = self.view.steps
        link = f'<a href="{escape(self.url)}">{escape(self.id)}</a>'
        return f"<b>{escape(self.name)}</b> ({link}): {self.phase}, {steps.succeeded} of {steps.total} steps done"


class Experiment(Described):
    """One experiment of a server.

    >>> experiment = client.run("study.yaml")
    >>> experiment.wait().results.to_pandas()
    >>> experiment.verdict
    """

    def __init__(self, client: "Client", view: ExperimentView, *, created: bool) -> None:
        super().__init__(client.server, view, created=created)
        self._client = client

    def refresh(self) -> Self:
        """Asks the server how far it is.

        >>> experiment.refresh().phase
        'running'
        """
        self.view = self._client.experiment(self.id)
        return self

    def wait(self, *, timeout: float | None = None, progress: bool = True) -> Self:
        """Waits until it has ended; with `progress` a notebook shows a bar and a terminal a live table. Raises
        ExperimentFailed unless it succeeded, StillRunning after `timeout` seconds.

        >>> experiment.wait(timeout=3600).phase
        'succeeded'
        """
        with showing_progress_here(progress) as watcher:
            self.view = self._client.wait(self.id, watcher=watcher, timeout=timeout)
        return self

    @property
    def results(self) -> Results:
        """The accuracies measured so far.

        >>> experiment.results.to_pandas(summary=True)
        """
        return self._client.results(self.id)

    @property
    def verdict(self) -> Verdict:
        """Which arm is better, by how much, and how sure that is. Raises Conflict until both arms are measured.

        >>> experiment.verdict.headline
        """
        return self._client.verdict(self.id)

    def plot(self, metric: Metric | None = None) -> "Plot":
        """Accuracy over training images; error bars are standard deviations over seeds.

        >>> experiment.plot().savefig("accuracies.png")
        """
        return self.results.plot(metric)

    def cancel(self) -> Self:
        """Stops it; what it has computed stays.

        >>> experiment.cancel().phase
        'cancelled'
        """
        self.view = self._client.cancel(self.id)
        return self

    def retry(self) -> Self:
        """Gives what failed all its attempts again; a cancelled experiment goes on.

        >>> experiment.retry().wait()
        """
        self.view = self._client.retry(self.id)
        return self

    def clone(self, changes: dict[str, Any]) -> "Experiment":
        """A new experiment with changes to the spec; what stays the same is not computed again.

        >>> experiment.clone({"sizes": [240, 480]}).wait().verdict
        """
        return Experiment(self._client, self._client.clone(self.id, changes), created=True)


class AsyncExperiment(Described):
    """One experiment of a server, whose calls are awaited.

    >>> experiment = await client.run("study.yaml")
    >>> (await (await experiment.wait()).results()).to_pandas()
    """

    def __init__(self, client: "AsyncClient", view: ExperimentView, *, created: bool) -> None:
        super().__init__(client.server, view, created=created)
        self._client = client

    async def refresh(self) -> Self:
        """As Experiment.refresh."""
        self.view = await self._client.experiment(self.id)
        return self

    async def wait(self, *, timeout: float | None = None, progress: bool = True) -> Self:
        """As Experiment.wait."""
        with showing_progress_here(progress) as watcher:
            self.view = await self._client.wait(self.id, watcher=watcher, timeout=timeout)
        return self

    async def results(self) -> Results:
        """As Experiment.results, awaited."""
        return await self._client.results(self.id)

    async def verdict(self) -> Verdict:
        """As Experiment.verdict, awaited."""
        return await self._client.verdict(self.id)

    async def plot(self, metric: Metric | None = None) -> "Plot":
        """As Experiment.plot."""
        return (await self.results()).plot(metric)

    async def cancel(self) -> Self:
        """As Experiment.cancel."""
        self.view = await self._client.cancel(self.id)
        return self

    async def retry(self) -> Self:
        """As Experiment.retry."""
        self.view = await self._client.retry(self.id)
        return self

    async def clone(self, changes: dict[str, Any]) -> "AsyncExperiment":
        """As Experiment.clone."""
        return AsyncExperiment(self._client, await self._client.clone(self.id, changes), created=True)


def check_end(detail: ExperimentDetail, seconds: float, timeout: float | None) -> bool:
    """Whether it has ended well. Raises ExperimentFailed where it ended otherwise, StillRunning after `timeout`."""
    if detail.phase == "succeeded":
        return True
    if detail.phase in FINISHED:
        raise ExperimentFailed(detail)
    if timeout is not None and seconds > timeout:
        raise StillRunning(
            f"experiment {detail.id} is still {detail.phase} after {timeout:.0f} s. It goes on: wait for it again, or "
            f"stop it with `touchstone cancel {detail.id}`"
        )
    return False


def entries_in_order(catalogue: Catalogue) -> Iterator[tuple[Resource, tuple[Entry, ...]]]:
    """Models before what refers to them."""
    yield "encoders", catalogue.encoders
    yield "generators", catalogue.generators
    yield "upstreams", catalogue.upstreams
    yield "targets", catalogue.targets
    yield "datasets", catalogue.datasets
