"""The REST API as described calls. Each is a method of `Client`, and of `AsyncClient` where it is awaited.

Every call raises a subclass of `touchstone.ProblemError` where the server refuses, and `touchstone.Unreachable` where
it does not answer."""

from collections.abc import Sequence
from typing import Any, Literal

import httpx
from touchstone_contracts.access import AuditEntry, AuditPage, CreatedKey, KeyPage, KeyView, NewKey, ProjectView, Scope
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET, Dataset, Encoder, Generator, Target, Upstream
from touchstone_contracts.experiment import ExperimentSpec
from touchstone_contracts.power import DeclaredSpread
from touchstone_contracts.views import (
    ArmCuration,
    CandidateImage,
    ClassTable,
    DatasetPage,
    DescribedKind,
    DescriptionView,
    EncoderPage,
    Estimation,
    ExperimentAccount,
    ExperimentChanges,
    ExperimentDetail,
    ExperimentManifest,
    ExperimentPage,
    ExperimentView,
    FoundImage,
    GeneratorPage,
    ImagePage,
    ImageView,
    LabelCards,
    LinkReport,
    Phase,
    Prices,
    Scaling,
    SearchedQueries,
    SourceAccount,
    StepDetail,
    StepPage,
    StepState,
    StepView,
    Storage,
    TakedownPage,
    TakedownView,
    TargetAccount,
    TargetPage,
    TargetSummary,
    TrainingImage,
    TrainingImagePage,
    TrainingRuns,
    TrainingSetView,
    UpstreamPage,
    UpstreamView,
    Validation,
)
from touchstone_contracts.webhooks import (
    DeliveryPage,
    DeliveryView,
    WebhookPage,
    WebhookRegistered,
    WebhookSpec,
    WebhookView,
)

from touchstone.answers import Results, Verdict
from touchstone.calls import Call, Listing, get, given, listing, method, nothing, post, reader
from touchstone.paths import path_of
from touchstone.searches import SearchResults

Resource = Literal["upstreams", "targets", "datasets", "encoders", "generators"]
Entry = Encoder | Generator | Upstream | Target | Dataset

NO_PRICES = Prices()
NO_SPREAD = DeclaredSpread()

UPSTREAM = "upstream/"
"""Before its name, where an upstream may stand instead of an experiment."""


def _owned(owner: str) -> tuple[str, str]:
    """In a path: of an experiment, `exp_...`, or of an upstream, `upstream/NAME`."""
    if owner.startswith(UPSTREAM):
        return "upstreams", owner.removeprefix(UPSTREAM)
    return "experiments", owner


def _created(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.CREATED


def _asked(target: str | None, size: int | None, seed: int | None) -> dict[str, str]:
    numbers = {"size": size, "seed": seed}
    return given(target=target, **{name: None if value is None else str(value) for name, value in numbers.items()})


class Api:
    """What a server can be asked. `experiment` is an experiment's id, `owner` that or `upstream/NAME`."""

    # What is registered

    @method
    def register(self, resource: Resource, entry: Entry) -> Call[bool]:
        """Registers an entry: True when it is new, False when the identical entry was there. Raises Conflict when the
        name means something else already.

        >>> client.register("encoders", Encoder(name="clip", model="library:models/clip", digest="..."))
        True
        """
        return Call("POST", path_of(resource), _created, json=entry.model_dump(mode="json"), repeatable="keyed")

    @method
    def upstream(self, name: str) -> Call[UpstreamView]:
        """An upstream with the phase, progress and account of its ingest.

        >>> client.upstream("miniverse").images
        18950
        """
        return get(path_of("upstreams", name), UpstreamView)

    @method
    def start_search(self, upstream: str, document: dict[str, Any]) -> Call[SearchResults]:
        """Asks for a search; its answer if it comes within a few seconds. `search` waits for it.

        >>> client.start_search("miniverse", {"text": "a flag with a red circle"}).phase
        'succeeded'
        """
        return post(path_of("upstreams", upstream, "search"), SearchResults, document)

    @method
    def search_state(self, upstream: str, search: str) -> Call[SearchResults]:
        """How far a search is, and what it has found.

        >>> client.search_state("miniverse", found.id).searched
        18950
        """
        return get(path_of("upstreams", upstream, "searches", search), SearchResults)

    @method
    def found_image(self, found: FoundImage) -> Call[bytes]:
        """The encoded bytes of an image that a search found. Raises ValueError of a link, which the server has no image
        of.

        >>> client.found_image(client.search("miniverse", "an owl").results[0])[:4]
        b'\x89PNG'
        """
        if found.url is None:
            raise ValueError(f"the image is behind a link that the server has not followed: {found.link}")
        return Call("GET", found.url, lambda response: response.content)

    @method
    def add(self, kind: DescribedKind, document: dict[str, Any]) -> Call[DescriptionView]:
        """Has a worker look at the `location` of the document; what it finds is registered. The same again is the same.

        >>> client.add("upstream", {"name": "birds", "location": "hf://datasets/owner/birds"}).phase
        'queued'
        """
        return post(path_of(f"{kind}s"), DescriptionView, document)

    @method
    def description(self, kind: DescribedKind, name: str) -> Call[DescriptionView]:
        """How far looking at its location is.

        >>> client.description("upstream", "birds").phase
        'succeeded'
        """
        return get(path_of("descriptions", kind, name), DescriptionView)

    @listing
    def upstreams(self) -> Listing[UpstreamView]:
        """All upstreams, by name.

        >>> [upstream.name for upstream in client.upstreams()]
        ['miniverse']
        """
        return Listing("/v1/upstreams", UpstreamPage, {})

    @method
    def target(self, name: str) -> Call[Target]:
        """A target with its classes, templates and splits.

        >>> [label.display_name for label in client.target("flags").classes][:2]
        ['flag of Canada', 'flag of Japan']
        """
        return get(path_of("targets", name), Target)

    @listing
    def targets(self) -> Listing[TargetSummary]:
        """All targets, by name, without their class lists.

        >>> {target.name: target.classes for target in client.targets()}
        {'animals': 17, 'flags': 60}
        """
        return Listing("/v1/targets", TargetPage, {})

    @method
    def dataset(self, name: str) -> Call[Dataset]:
        """A data set of labelled images for arms of kind `given`.

        >>> client.dataset("flags-by-hand").origin
        'synthetic'
        """
        return get(path_of("datasets", name), Dataset)

    @listing
    def datasets(self) -> Listing[Dataset]:
        """All data sets, by name.

        >>> [dataset.name for dataset in client.datasets()]
        ['flags-by-hand']
        """
        return Listing("/v1/datasets", DatasetPage, {})

    @method
    def encoder(self, name: str) -> Call[Encoder]:
        """A registered encoder.

        >>> client.encoder("mini-clip").model
        'library:models/mini-clip'
        """
        return get(path_of("encoders", name), Encoder)

    @listing
    def encoders(self) -> Listing[Encoder]:
        """All encoders, by name.

        >>> [encoder.name for encoder in client.encoders()]
        ['mini-clip']
        """
        return Listing("/v1/encoders", EncoderPage, {})

    @method
    def generator(self, name: str) -> Call[Generator]:
        """A registered generator.

        >>> client.generator("mini-diffusion").trained_on
        'miniverse'
        """
        return get(path_of("generators", name), Generator)

    @listing
    def generators(self) -> Listing[Generator]:
        """All generators, by name.

        >>> [generator.name for generator in client.generators()]
        ['mini-diffusion']
        """
        return Listing("/v1/generators", GeneratorPage, {})

    @method
    def target_account(self, name: str) -> Call[TargetAccount]:
        """How many images of each split of a target were seen, taken and refused so far, and why.

        >>> client.target_account("flags").splits[0].account.taken
        240
        """
        return get(path_of("targets", name, "account"), TargetAccount)

    @method
    def dataset_account(self, name: str) -> Call[SourceAccount]:
        """How many images of a data set were seen, taken and refused so far, and why.

        >>> client.dataset_account("flags-by-hand").account.refusals
        ''
        """
        return get(path_of("datasets", name, "account"), SourceAccount)

    # Experiments

    @method
    def post(self, spec: ExperimentSpec) -> Call[tuple[ExperimentView, bool]]:
        """Posts an experiment. Returns it, and whether this call created it: re-posting a spec returns the existing
        experiment. `run` does the same and returns something to wait for.

        >>> experiment, created = client.post(spec)
        """
        return _posted(spec.model_dump(mode="json"))

    @method
    def post_document(self, document: dict[str, Any]) -> Call[tuple[ExperimentView, bool]]:
        """As `post`, for a document that the server checks.

        >>> experiment, created = client.post_document({"name": "quick look", "upstream": "miniverse", ...})
        """
        return _posted(document)

    @method
    def validate(self, document: dict[str, Any]) -> Call[Validation]:
        """What posting a document would do; creates nothing.

        >>> client.validate(document).steps
        41
        """
        return post("/v1/experiments/validate", Validation, document)

    @method
    def estimate(self, document: dict[str, Any], spread: DeclaredSpread = NO_SPREAD) -> Call[Estimation]:
        """What an experiment would cost, and the smallest difference that it could show; creates nothing. `spread` is
        what you know of the spread of accuracies; otherwise the server uses earlier experiments.

        >>> client.estimate(document).work.images_generated
        1800
        """
        params = spread.model_dump(exclude_none=True)
        return Call("POST", "/v1/experiments/estimate", reader(Estimation), json=document, params=params)

    @method
    def experiment(self, experiment: str) -> Call[ExperimentDetail]:
        """An experiment with its spec, phase, steps and problems.

        >>> client.experiment("exp_0123456789abcdef").phase
        'succeeded'
        """
        return get(path_of("experiments", experiment), ExperimentDetail)

    @listing
    def experiments(
        self,
        *,
        q: str = "",
        phase: Phase | None = None,
        upstream: str | None = None,
        encoder: str | None = None,
        target: str | None = None,
        arm: str | None = None,
        tag: str | None = None,
        archived: bool = False,
        sort: Literal["newest", "oldest", "name"] = "newest",
    ) -> Listing[ExperimentView]:
        """Experiments that meet all conditions; the next page is fetched when it is needed. Each word of `q` is in the
        name, in a tag, or at the beginning of the id; `arm` is a kind of arm.

        >>> [experiment.name for experiment in client.experiments(q="look", phase="succeeded")]
        ['quick look']
        """
        facets = given(upstream=upstream, encoder=encoder, target=target, arm=arm, tag=tag)
        found = given(q=q or None, phase=phase, archived="true" if archived else None, sort=sort) | facets
        return Listing("/v1/experiments", ExperimentPage, found)

    @method
    def change(
        self,
        experiment: str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        archived: bool | None = None,
    ) -> Call[ExperimentView]:
        """Renames an experiment, replaces its tags, or archives it, which takes it off the lists. What it asked and
        found stays.

        >>> client.change("exp_0123456789abcdef", tags=["paper"]).tags
        ('paper',)
        """
        changes = ExperimentChanges(name=name, tags=None if tags is None else tuple(tags), archived=archived)
        document = changes.model_dump(mode="json", exclude_none=True)
        return Call("PATCH", path_of("experiments", experiment), reader(ExperimentView), json=document)

    @method
    def queries(self, experiment: str) -> Call[SearchedQueries]:
        """What its retrieval arms looked for in captions, and how many captions each query found.

        >>> [query.searched for query in client.queries("exp_0123456789abcdef").queries][:1]
        ['flag of canada']
        """
        return get(path_of("experiments", experiment, "queries"), SearchedQueries)

    @method
    def delete(self, experiment: str) -> Call[None]:
        """Deletes an experiment with its history and verdict. What it computed stays until it is collected. Raises
        Conflict while the experiment is active.

        >>> client.delete("exp_0123456789abcdef")
        """
        return Call("DELETE", path_of("experiments", experiment), nothing)

    @method
    def cancel(self, experiment: str) -> Call[ExperimentView]:
        """Stops an experiment; what it has computed stays. One that has ended stays as it is.

        >>> client.cancel("exp_0123456789abcdef").phase
        'cancelled'
        """
        return post(path_of("experiments", experiment, "cancel"), ExperimentView)

    @method
    def retry(self, experiment: str) -> Call[ExperimentView]:
        """Gives failed steps all their attempts again; a cancelled experiment goes on. Raises Conflict where nothing
        failed.

        >>> client.retry("exp_0123456789abcdef").phase
        'queued'
        """
        return post(path_of("experiments", experiment, "retry"), ExperimentView, repeatable="once")

    @method
    def cancel_upstream(self, name: str) -> Call[UpstreamView]:
        """Stops the ingest of an upstream; experiments that wait for it fail.

        >>> client.cancel_upstream("miniverse").phase
        'cancelled'
        """
        return post(path_of("upstreams", name, "cancel"), UpstreamView)

    @method
    def retry_upstream(self, name: str) -> Call[UpstreamView]:
        """Gives failed steps of an ingest all their attempts again; a cancelled one goes on.

        >>> client.retry_upstream("miniverse").phase
        'queued'
        """
        return post(path_of("upstreams", name, "retry"), UpstreamView, repeatable="once")

    @method
    def clone(self, experiment: str, changes: dict[str, Any]) -> Call[ExperimentView]:
        """A new experiment from an old one's spec and what differs: objects merge, anything else replaces.

        >>> client.clone("exp_0123456789abcdef", {"sizes": [240, 480]}).steps.reused
        29
        """
        return post(path_of("experiments", experiment, "clone"), ExperimentView, changes, repeatable="keyed")

    @listing
    def takedowns(self) -> Listing[TakedownView]:
        """Images that no step uses any more, with the experiments whose results were computed with them.

        >>> [takedown.reason for takedown in client.takedowns()]
        []
        """
        return Listing("/v1/takedowns", TakedownPage, {})

    @method
    def storage(self) -> Call[Storage]:
        """How many bytes results hold, and which experiments and upstreams hold most.

        >>> client.storage().total
        734003200
        """
        return get("/v1/storage", Storage)

    # Steps

    @listing
    def steps(self, owner: str, *, state: StepState | None = None, prefix: str = "") -> Listing[StepView]:
        """The steps of an experiment, or of the ingest of `upstream/NAME`, in an order in which they can be done.
        `state` and `prefix` (the beginning of an id) select some.

        >>> [step.role for step in client.steps("exp_0123456789abcdef", state="failed")]
        []
        """
        return Listing(path_of(*_owned(owner), "steps"), StepPage, given(state=state, prefix=prefix or None))

    @method
    def step(self, owner: str, step: str) -> Call[StepDetail]:
        """A step with its inputs, worker and times and, where an attempt failed, the end of the worker's log.

        >>> print(client.step("exp_0123456789abcdef", step_id).log_tail)
        """
        return get(path_of(*_owned(owner), "steps", step), StepDetail)

    @method
    def retry_step(self, owner: str, step: str) -> Call[StepDetail]:
        """Gives one failed step all its attempts again. Raises Conflict for any other step.

        >>> client.retry_step("exp_0123456789abcdef", step_id).state
        'waiting'
        """
        return post(path_of(*_owned(owner), "steps", step, "retry"), StepDetail, repeatable="once")

    # Results

    @method
    def results(self, experiment: str) -> Call[Results]:
        """The accuracies measured so far.

        >>> client.results("exp_0123456789abcdef").to_pandas()
        """
        return get(path_of("experiments", experiment, "results"), Results)

    @method
    def results_csv(self, experiment: str) -> Call[str]:
        """As `results`, as CSV text with one row per accuracy.

        >>> client.results_csv("exp_0123456789abcdef").splitlines()[0].split(",")[:3]
        ['target', 'arm', 'size']
        """
        path = path_of("experiments", experiment, "results")
        return Call("GET", path, lambda response: response.text, params={"format": "csv"})

    @method
    def account(self, experiment: str) -> Call[ExperimentAccount]:
        """How many images of each source were seen, taken and refused so far, and notes on what was generated.

        >>> [source.words for source in client.account("exp_0123456789abcdef").sources]
        ['upstream miniverse', 'flags/test', 'flags/validation']
        """
        return get(path_of("experiments", experiment, "account"), ExperimentAccount)

    @method
    def verdict(self, experiment: str, *, prices: Prices = NO_PRICES) -> Call[Verdict]:
        """Which arm is better, by how much, and how sure that is. Costs come in money too where a price is given here
        or in the server's settings. Raises Conflict until both arms are measured.

        >>> client.verdict("exp_0123456789abcdef").headline
        'retrieved is better than synthetic by 3.5 points (95 % interval 1.5 to 5.5)'
        """
        return get(path_of("experiments", experiment, "verdict"), Verdict, prices.model_dump(exclude_none=True))

    @method
    def registration(self, experiment: str) -> Call[str]:
        """What was declared when the experiment was posted, as it was stored: its sha256 is the `digest` of the
        verdict's registration. Raises NotFound where a release of before registrations stored the experiment.

        >>> hashlib.sha256(client.registration("exp_0123456789abcdef").encode()).hexdigest()
        """
        return Call("GET", path_of("experiments", experiment, "registration"), lambda response: response.text)

    @method
    def manifest(self, experiment: str) -> Call[ExperimentManifest]:
        """What decides the numbers, with digests.

        >>> client.manifest("exp_0123456789abcdef").results_digest
        """
        return get(path_of("experiments", experiment, "manifest"), ExperimentManifest)

    @method
    def scaling(self, experiment: str) -> Call[Scaling]:
        """Accuracy as a power law of size, for every arm that has finished.

        >>> [fit.exponent for fit in client.scaling("exp_0123456789abcdef").fits]
        """
        return get(path_of("experiments", experiment, "scaling"), Scaling)

    @method
    def classes(
        self,
        experiment: str,
        arm: str,
        size: int,
        *,
        metric: Metric | None = None,
        target: str | None = None,
        test_set: str = MAIN_TEST_SET,
    ) -> Call[ClassTable]:
        """An arm class by class, the largest losses against the untouched encoder first. `target` may be left out where
        there is one, `metric` is then the first measured. Raises Conflict until every seed is in.

        >>> client.classes("exp_0123456789abcdef", "retrieved", 480).classes[0].display_name
        'flag of Chad'
        """
        query = {"arm": arm, "size": size, "test_set": test_set} | given(metric=metric, target=target)
        return get(path_of("experiments", experiment, "classes"), ClassTable, query)

    @method
    def label_cards(self, experiment: str) -> Call[LabelCards]:
        """How right and how evenly spread the labels of each arm's images are, as far as it is measured.

        >>> [card.arm for card in client.label_cards("exp_0123456789abcdef").cards]
        ['retrieved', 'synthetic']
        """
        return get(path_of("experiments", experiment, "labels"), LabelCards)

    @method
    def arm_curation(self, experiment: str, arm: str, target: str | None = None) -> Call[ArmCuration]:
        """An arm's images by curation stage and by class, before and after, with the reasons.

        >>> client.arm_curation("exp_0123456789abcdef", "retrieved").counts.kept
        1432
        """
        return get(path_of("experiments", experiment, "arms", arm), ArmCuration, given(target=target))

    @method
    def arm_links(self, experiment: str, arm: str, target: str | None = None) -> Call[LinkReport]:
        """What the retrieved links of an arm gave. Raises NotFound where no image comes from a link.

        >>> client.arm_links("exp_0123456789abcdef", "retrieved").total.obtained
        871
        """
        return get(path_of("experiments", experiment, "arms", arm, "links"), LinkReport, given(target=target))

    @method
    def arm_images(self, experiment: str, arm: str, target: str, **params: Any) -> Call[ImagePage]:
        """One page of an arm's images; `params` are the query parameters of the endpoint: class_id, kept, limit, ...

        >>> page = client.arm_images("exp_0123456789abcdef", "retrieved", "flags", kept=True, limit=4)
        """
        return get(path_of("experiments", experiment, "arms", arm, "images"), ImagePage, {"target": target} | params)

    @method
    def image_details(
        self, experiment: str, arm: str, image: str, target: str | None = None, *, row: int | None = None
    ) -> Call[CandidateImage]:
        """Everything that is stored about one candidate image of an arm, and why it was kept or dropped. `image` is its
        sha256; `row` tells apart the rows of an image that is there several times.

        >>> client.image_details("exp_0123456789abcdef", "retrieved", page.items[0].id, "flags").why
        'Kept: no stage of curation dropped it.'
        """
        query = given(target=target, row=None if row is None else str(row))
        return get(path_of("experiments", experiment, "arms", arm, "images", image, "details"), CandidateImage, query)

    @method
    def training_runs(
        self, experiment: str, arm: str, target: str | None = None, *, size: int | None = None
    ) -> Call[TrainingRuns]:
        """Training loss and validation accuracy of every epoch, of each finished run of an arm at a size; without a
        size, at the largest.

        >>> client.training_runs("exp_0123456789abcdef", "retrieved", "flags").runs[0].epochs[-1].train_loss
        0.41
        """
        return get(path_of("experiments", experiment, "arms", arm, "runs"), TrainingRuns, _asked(target, size, None))

    @method
    def training_set(
        self, experiment: str, arm: str, target: str | None = None, *, size: int | None = None, seed: int | None = None
    ) -> Call[TrainingSetView]:
        """How many images an encoder of an arm trains on, by class, and their digest; without a size, how many curation
        kept. `target` may be left out where there is one, `seed` means the first then.

        >>> client.training_set("exp_0123456789abcdef", "retrieved", "flags", size=240, seed=0).images
        240
        """
        return get(
            path_of("experiments", experiment, "arms", arm, "training-set"), TrainingSetView, _asked(target, size, seed)
        )

    @listing
    def training_images(
        self, experiment: str, arm: str, target: str | None = None, *, size: int | None = None, seed: int | None = None
    ) -> Listing[TrainingImage]:
        """The images of a training set in the order of the draw, with labels, captions, scores and where each is from.

        >>> [image.source_key for image in client.training_images("exp_0123456789abcdef", "retrieved", "flags", size=2)]
        ['000000123', '000004711']
        """
        asked = _asked(target, size, seed) | {"limit": "500"}
        return Listing(
            path_of("experiments", experiment, "arms", arm, "training-set", "images"), TrainingImagePage, asked
        )

    @method
    def image(self, shown: ImageView | TrainingImage) -> Call[bytes]:
        """The file of one image of a page.

        >>> client.image(page.items[0])[:4]
        b'\\x89PNG'
        """
        return Call("GET", shown.url, lambda response: response.content)

    # Keys, of the project that the client's own key belongs to

    @method
    def project(self) -> Call[ProjectView]:
        """The project of the client's key, with its limits and how much of them is used.

        >>> client.project().scope
        'write'
        """
        return get("/v1/project", ProjectView)

    @method
    def create_key(self, label: str, scope: Scope = "read", expires_in_days: int | None = None) -> Call[CreatedKey]:
        """A new key. This answer holds the key itself, and no other does. Needs the scope `admin`, as all calls about
        keys.

        >>> client.create_key("continuous integration", "write", expires_in_days=90).key
        """
        wanted = NewKey(label=label, scope=scope, expires_in_days=expires_in_days)
        return post("/v1/keys", CreatedKey, wanted.model_dump(mode="json"), repeatable="once")

    @listing
    def keys(self) -> Listing[KeyView]:
        """All keys, without the keys themselves; the revoked and expired ones too.

        >>> [key.label for key in client.keys()]
        ['continuous integration']
        """
        return Listing("/v1/keys", KeyPage, {})

    @method
    def revoke_key(self, key_id: str) -> Call[None]:
        """From the next request on the key is refused.

        >>> client.revoke_key("key_0123456789")
        """
        return Call("DELETE", path_of("keys", key_id), nothing)

    @listing
    def audit(self) -> Listing[AuditEntry]:
        """Who did what in the project, the newest first.

        >>> next(client.audit()).action
        'POST /v1/experiments'
        """
        return Listing("/v1/audit", AuditPage, {})

    @method
    def share(self, thing: str, *, shared: bool = True) -> Call[None]:
        """Lets other projects read something, or no longer. `thing` is an experiment's id, or `targets/NAME`,
        `upstreams/NAME` and so on.

        >>> client.share("targets/flags")
        """
        path = thing.split("/", 1) if "/" in thing else ("experiments", thing)
        return Call("PUT" if shared else "DELETE", path_of(*path, "share"), nothing)

    # Webhooks; what receivers do is in touchstone.webhooks

    @listing
    def webhooks(self) -> Listing[WebhookView]:
        """Addresses that are told when experiments of the project end, the oldest first, without their secrets.

        >>> [webhook.url for webhook in client.webhooks()]
        ['https://example.org/touchstone']
        """
        return Listing("/v1/webhooks", WebhookPage, {})

    @method
    def add_webhook(self, url: str) -> Call[WebhookRegistered]:
        """Registers an address that is sent a POST whenever an experiment of the project ends. `secret` is told this
        once, and is None where the address was registered before: remove the webhook and add it again for another.
        Needs the scope `admin`, as `remove_webhook`.

        >>> client.add_webhook("https://example.org/touchstone").secret
        """
        wanted = WebhookSpec(url=url).model_dump(mode="json")
        return post("/v1/webhooks", WebhookRegistered, wanted, repeatable="once")

    @method
    def remove_webhook(self, webhook: str) -> Call[None]:
        """Tells an address nothing more, and forgets its deliveries.

        >>> client.remove_webhook("hook_0123456789")
        """
        return Call("DELETE", path_of("webhooks", webhook), nothing)

    @method
    def test_webhook(self, webhook: str) -> Call[DeliveryView]:
        """Sends a message of the type `webhook.test` soon; `webhook_deliveries` says what became of it.

        >>> client.test_webhook("hook_0123456789").state
        'pending'
        """
        return post(path_of("webhooks", webhook, "test"), DeliveryView)

    @listing
    def webhook_deliveries(self, webhook: str) -> Listing[DeliveryView]:
        """What became of messages, the newest first; those that are over are kept for thirty days.

        >>> [delivery.state for delivery in client.webhook_deliveries("hook_0123456789")]
        ['delivered']
        """
        return Listing(path_of("webhooks", webhook, "deliveries"), DeliveryPage, {})

    @method
    def retry_delivery(self, webhook: str, delivery: str) -> Call[DeliveryView]:
        """Sends a message again, whatever became of it, under the same id.

        >>> client.retry_delivery("hook_0123456789", "msg_0123456789").state
        'pending'
        """
        return post(path_of("webhooks", webhook, "deliveries", delivery, "retry"), DeliveryView)


def _posted(document: dict[str, Any]) -> Call[tuple[ExperimentView, bool]]:
    view = reader(ExperimentView)
    return Call(
        "POST", "/v1/experiments", lambda answer: (view(answer), _created(answer)), json=document, repeatable="keyed"
    )
