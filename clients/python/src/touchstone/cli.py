"""The `touchstone` command: the REST API for people at a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, cast

import httpx
import typer
from pydantic import ValidationError
from rich.console import Console
from touchstone_contracts.access import SCOPES, Scope
from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET, Catalogue, Templates
from touchstone_contracts.experiment import CONFIDENCE, SPREAD, Comparison, FailedRuns, Spending, Spread, Stopping
from touchstone_contracts.power import DeclaredSpread
from touchstone_contracts.problems import Invalid, in_words
from touchstone_contracts.views import Phase, Prices, Results, StepState, StepView

from touchstone.access_tables import print_audit, print_keys, print_project
from touchstone.account_tables import print_account, print_sources
from touchstone.adding import (
    EntryName,
    NotAdded,
    SourceHelp,
    TargetForm,
    UpstreamForm,
    add,
    class_names,
    known_origin,
    locations_of,
    name_of,
)
from touchstone.class_tables import print_classes, print_curation, print_links
from touchstone.client import DEFAULT_SERVER, UPSTREAM, Client, given
from touchstone.credentials import keep_key
from touchstone.documents import UnreadableDocument, parse_changes, read_document, read_study
from touchstone.label_tables import print_label_cards
from touchstone.packing import NothingToPack
from touchstone.problems import ExperimentFailed, ProblemError, UnknownStep, describe
from touchstone.progress import showing_progress
from touchstone.report import Finding, markdown_reports
from touchstone.step_tables import print_log, print_steps, the_one_step
from touchstone.storage_tables import print_storage
from touchstone.tables import (
    console_for_output,
    print_counts,
    print_estimation,
    print_experiment,
    print_experiments,
    print_registration,
    print_results,
    print_verdict,
)
from touchstone.takedown_tables import print_takedowns
from touchstone.variance_tables import print_variance

app = typer.Typer(help="Compare training images by experiment.", no_args_is_help=True, pretty_exceptions_enable=False)
keys = typer.Typer(help="API keys of your project, with an admin's key.", no_args_is_help=True)
app.add_typer(keys, name="keys")
adding = typer.Typer(
    help="Register an upstream, a target or a data set from a folder of this machine or a location elsewhere.",
    no_args_is_help=True,
)
app.add_typer(adding, name="add")

Server = Annotated[str, typer.Option(envvar="TOUCHSTONE_SERVER", help="Address of the server.")]
ExperimentId = Annotated[str, typer.Argument(help="An experiment's id, exp_...")]
Owner = Annotated[str, typer.Argument(metavar="ID", help="An experiment's id, exp_..., or upstream/NAME.")]
ArmName = Annotated[str, typer.Argument(help="An arm that trains.")]
TargetName = Annotated[str | None, typer.Option(help="Needed where the experiment has more than one target.")]
Watch = Annotated[bool, typer.Option("--watch", help="Wait for the end with live progress, then show the results.")]


def known_metric(name: str | None) -> str | None:
    if name is not None and name not in METRICS:
        raise typer.BadParameter(f"{name!r} is not {in_words(list(METRICS), 'or')}")
    return name


def known_scope(name: str) -> str:
    if name not in SCOPES:
        raise typer.BadParameter(f"{name!r} is not {in_words(SCOPES, 'or')}")
    return name


@contextmanager
def readable_failures() -> Iterator[None]:
    """Input that is at fault ends the program with one readable line and exit code 2."""
    try:
        yield
    except (UnreadableDocument, UnknownStep, NothingToPack, NotAdded) as error:
        raise _stop(str(error), 2) from error
    except ValidationError as error:
        fields = (": ".join([*map(str, field["loc"]), field["msg"]]) for field in error.errors())
        raise _stop("; ".join(fields), 2) from error
    except Invalid as error:
        raise _stop(describe(error.problem()), 2) from error


@contextmanager
def connected(server: str, key: str | None = None) -> Iterator[Client]:
    """A client whose failures end the program with one readable line and exit code 1 (2: the input is at fault)."""
    try:
        with readable_failures(), Client(server, key=key) as client:
            yield client
    except ProblemError as error:
        raise _stop(describe(error.problem), 2 if error.problem.status < 500 else 1) from error
    except ExperimentFailed as error:
        raise _stop(str(error), 1) from error
    except httpx.TransportError as error:
        raise _stop(f"no answer from {server}: {error}", 1) from error


def _stop(message: str, code: int) -> typer.Exit:
    Console(stderr=True).print(message, style="red", soft_wrap=True, markup=False, highlight=False)
    return typer.Exit(code)


@app.command()
def login(server: Server = DEFAULT_SERVER) -> None:
    """Keep an API key for a server; it is asked for, and tried."""
    key = typer.prompt("API key", hide_input=True).strip()
    with connected(server, key) as client:
        project = client.project()
    file = keep_key(server, key)
    console_for_output().print(f"project {project.name}, scope {project.scope}; kept in {file}")


@app.command()
def apply(catalogue: Path, server: Server = DEFAULT_SERVER) -> None:
    """Register the encoders, generators, upstreams, targets and data sets of a catalogue file."""
    with connected(server) as client:
        entries = Catalogue.model_validate(read_document(catalogue))
        for resource, new in client.apply(entries).items():
            console_for_output().print(f"{resource}: {len(getattr(entries, resource))} registered, {new} of them new")


@adding.command("upstream")
def add_upstream(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help=SourceHelp)],
    name: EntryName = None,
    index_encoder: Annotated[
        str | None, typer.Option(help="What searches it. Left out: the only registered encoder with a text tower.")
    ] = None,
    layout: UpstreamForm = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Images with captions that training images are retrieved from: shards, parquet files, folders, tables of links."""
    console = console_for_output()
    with connected(server) as client:
        document: dict[str, Any] = {
            "name": name or name_of(sources[0]),
            "location": locations_of(client, sources, console),
        }
        add(client, "upstream", document | given(index_encoder=index_encoder, layout=layout), console)
        found = client.upstream(document["name"])
    words = f"{found.images} images in {len(found.upstream.shards)} shards; the ingest is {found.phase}"
    console.print(f"upstream {found.name}: {words} (touchstone account upstream/{found.name})", highlight=False)


@adding.command("target")
def add_target(
    source: Annotated[str | None, typer.Argument(help=SourceHelp + " With every split below it.")] = None,
    train: Annotated[str | None, typer.Option(help="Where this split is, in place of SOURCE.")] = None,
    validation: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    test: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    name: EntryName = None,
    classes: Annotated[Path | None, typer.Option(help="File: a display name a line, in the order of ids.")] = None,
    template: Annotated[list[str] | None, typer.Option(help="A sentence with {name}; may repeat.")] = None,
    layout: TargetForm = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """The classification task: folders train, validation and test of class folders, or a labelled file for each."""
    splits = given(train=train, validation=validation, test=test)
    if (source is None) == (not splits) or (splits and not {"validation", "test"} <= set(splits)):
        raise typer.BadParameter("name either a SOURCE with every split below it, or --validation and --test")
    console = console_for_output()
    document: dict[str, Any] = {"name": name or name_of(source or splits["test"])} | given(layout=layout)
    with connected(server) as client:
        if classes is not None:
            document["classes"] = class_names(classes)
        if template:
            document["templates"] = dict.fromkeys(Templates.model_fields, template)
        places = locations_of(client, [source] if source else list(splits.values()), console)
        where = {"location": places} if source else {"splits": dict(zip(splits, places, strict=True))}
        add(client, "target", document | where, console)
        found = client.target(document["name"])
    counts = ", ".join(f"{split} {each.images}" for split, each in found.splits.by_name.items())
    console.print(f"target {found.name}: {len(found.classes)} classes; images: {counts}", highlight=False)


@adding.command("dataset")
def add_dataset(
    source: Annotated[str, typer.Argument(help=SourceHelp)],
    target: Annotated[str, typer.Option(help="A registered target, whose classes the images are of.")],
    name: EntryName = None,
    layout: TargetForm = None,
    licence: Annotated[str, typer.Option(help="e.g. CC-BY-4.0")] = "",
    origin: Annotated[str, typer.Option(callback=known_origin, help="real, synthetic or unknown.")] = "unknown",
    made_by: Annotated[str, typer.Option(help="Of synthetic images: the generator.")] = "",
    trained_on: Annotated[str, typer.Option(help="Of synthetic images: what the generator was trained on.")] = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Labelled images for an arm of kind given: a folder for each class of the target, or a labelled file."""
    console = console_for_output()
    words = {"licence": licence, "origin": origin, "made_by": made_by, "trained_on": trained_on}
    with connected(server) as client:
        document = {"name": name or name_of(source), "target": target} | words | given(layout=layout)
        view = add(client, "dataset", document | {"location": locations_of(client, [source], console)}, console)
    console.print(f"dataset {view.name}: registered for target {target}", highlight=False)


@app.command()
def run(study: Path, watch: Watch = False, server: Server = DEFAULT_SERVER) -> None:
    """Post a study: a file, or a folder of study.yaml and variants.yaml. The same again finds the same experiments."""
    with connected(server) as client:
        posted = [client.post_document(document) for document in read_study(study)]
        for experiment, created in posted:
            state = f"{'created' if created else 'was there already'}: {experiment.phase}"
            console_for_output().print(f"{experiment.id} {experiment.name}, {state}")
        for experiment, _ in posted if watch else ():
            _watch(client, experiment.id)


@app.command()
def estimate(
    study: Path,
    seed_sd: Annotated[
        float | None, typer.Option(help="Expected standard deviation of an arm's accuracy between seeds: 0.013.")
    ] = None,
    image_sd: Annotated[
        float | None, typer.Option(help="Expected one of the arms' difference between test images.")
    ] = None,
    interaction_sd: Annotated[
        float | None, typer.Option(help="Expected one of what neither seed nor image explains.")
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """What a study would cost, and the smallest difference it could show. Posts nothing.

    Spreads left out come from earlier experiments on the server; where there are none, a default is assumed."""
    with connected(server) as client:
        spread = DeclaredSpread(seed_sd=seed_sd, image_sd=image_sd, interaction_sd=interaction_sd)
        for document in read_study(study):
            print_estimation(console_for_output(), client.estimate(document, spread))


def _watch(client: Client, experiment: str) -> None:
    console = console_for_output()
    with showing_progress(console) as watcher:
        client.wait(experiment, watcher=watcher)
    results = client.results(experiment)
    print_account(console, client.account(experiment))
    print_results(console, results)
    print_counts(console, results)
    # Without two arms that train there is nothing to compare.
    if client.experiment(experiment).readable_spec.primary is not None:
        print_verdict(console, client.verdict(experiment))
    console.print(f"{client.server}/experiments/{experiment}")


@app.command("list")
def list_experiments(server: Server = DEFAULT_SERVER) -> None:
    """All experiments, the newest first."""
    with connected(server) as client:
        print_experiments(console_for_output(), list(client.experiments()))


@app.command()
def show(experiment: ExperimentId, watch: Watch = False, server: Server = DEFAULT_SERVER) -> None:
    """What an experiment asks and how far it is."""
    with connected(server) as client:
        found = client.experiment(experiment)
        print_experiment(console_for_output(), found)
        if watch:
            _watch(client, experiment)
        else:
            print_account(console_for_output(), client.account(experiment))
            print_registration(console_for_output(), found.registration)


@app.command()
def account(
    owner: Annotated[
        str, typer.Argument(metavar="ID", help="An experiment's id, exp_..., upstream/NAME, target/NAME, dataset/NAME.")
    ],
    server: Server = DEFAULT_SERVER,
) -> None:
    """How many images of a source were seen, taken and refused at ingest, and why."""
    console = console_for_output()
    with connected(server) as client:
        kind, _, name = owner.partition("/")
        if kind == "upstream":
            found = client.upstream(name).account
            print_sources(console, [found] if found else [])
        elif kind == "target":
            print_sources(console, client.target_account(name).splits)
        elif kind == "dataset":
            print_sources(console, [client.dataset_account(name)])
        else:
            print_account(console, client.account(owner))


@app.command()
def results(
    experiment: ExperimentId,
    csv: Annotated[bool, typer.Option("--csv", help="One row per number, for other programs.")] = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """The accuracies measured so far."""
    with connected(server) as client:
        if csv:
            sys.stdout.write(client.results_csv(experiment))
            return
        found = client.results(experiment)
        print_results(console_for_output(), found)
        print_counts(console_for_output(), found)


@app.command()
def verdict(
    experiment: ExperimentId,
    cpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of a CPU core, in any currency.")] = None,
    gpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of a GPU, in the same currency.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Which arm is better, by how much, how sure that is, and what it cost."""
    with connected(server) as client:
        prices = Prices(cpu_hour=cpu_hour, gpu_hour=gpu_hour)
        print_verdict(console_for_output(), client.verdict(experiment, prices=prices))


@app.command()
def judge(
    predictions: Annotated[Path, typer.Argument(help="A .parquet or .csv file with a row per test image and run.")],
    a: Annotated[str, typer.Option(help="The arm that is compared.")],
    b: Annotated[str, typer.Option(help="The arm it is compared with.")],
    metric: Annotated[
        Metric,
        typer.Option(callback=known_metric, help="Which accuracy decides; without a column `metric`, what all are."),
    ] = "zero_shot",
    delta: Annotated[float, typer.Option(help="Smallest difference that matters: 0.01 is a point.")] = 0.01,
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = CONFIDENCE,
    stopping: Annotated[
        Stopping,
        typer.Option(help="anytime: valid however often seeds are added. planned: at the numbers of seeds in --look."),
    ] = "fixed",
    look: Annotated[
        list[int] | None, typer.Option(help="With planned: seeds at a look; once for each, the last has all of them.")
    ] = None,
    spending: Annotated[Spending, typer.Option(help="With planned: how the looks share alpha.")] = "obrien_fleming",
    test_set: Annotated[str, typer.Option(help="The test set that decides.")] = MAIN_TEST_SET,
    spread: Annotated[
        Spread, typer.Option(help="Variance between seeds: borrowed from all arms and targets, or the arms' own.")
    ] = SPREAD,
    failed_runs: Annotated[
        FailedRuns,
        typer.Option(help="leave_out: the answer is about runs that did not fail, by a column `validation`."),
    ] = "count",
    paired: Annotated[bool, typer.Option("--paired", help="Seeds draw the same images for both arms.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The whole verdict, for other programs.")] = False,
) -> None:
    """Which arm is better, from predictions made elsewhere: columns arm, target, test_set, size, seed, image, correct,
    and perhaps metric, cluster and validation. Asks no server."""
    with _extra("judge"):
        from touchstone_verdict.judge import judge as judged

        from touchstone.predictions import read_predictions
    with readable_failures():
        comparison = Comparison(
            a=a,
            b=b,
            metric=metric,
            test_set=test_set,
            delta=delta,
            confidence=confidence,
            stopping=stopping,
            spread=spread,
            failed_runs=failed_runs,
            looks=tuple(look or ()),
            spending=spending,
        )
        verdict = judged(read_predictions(predictions), comparison, paired=paired)
    if json:
        sys.stdout.write(verdict.model_dump_json(indent=2) + "\n")
    else:
        print_verdict(console_for_output(), verdict)


@app.command()
def classes(
    experiment: ExperimentId,
    arm: ArmName,
    size: Annotated[int | None, typer.Option(help="Training images. Left out: the largest size.")] = None,
    metric: Annotated[
        Metric | None, typer.Option(callback=known_metric, help="Left out: the first that is measured.")
    ] = None,
    target: TargetName = None,
    test_set: Annotated[str, typer.Option(help="One of the target's test sets.")] = MAIN_TEST_SET,
    server: Server = DEFAULT_SERVER,
) -> None:
    """An arm class by class: what it lost against the untouched encoder comes first."""
    with connected(server) as client:
        if size is None:
            size = max(client.experiment(experiment).readable_spec.sizes)
        found = client.classes(experiment, arm, size, metric=metric, target=target, test_set=test_set)
        print_classes(console_for_output(), found)


@app.command()
def curation(
    experiment: ExperimentId, arm: ArmName, target: TargetName = None, server: Server = DEFAULT_SERVER
) -> None:
    """An arm's images before and after curation, class by class, with the reasons."""
    with connected(server) as client:
        found = client.arm_curation(experiment, arm, target)
        print_curation(console_for_output(), found, client.target(found.target).classes)


@app.command()
def labels(experiment: ExperimentId, server: Server = DEFAULT_SERVER) -> None:
    """How right and how evenly spread the labels of each arm's images are."""
    with connected(server) as client:
        print_label_cards(console_for_output(), client.label_cards(experiment))


@app.command()
def variance(
    experiment: ExperimentId,
    arms: Annotated[str, typer.Option(help="One arm, or several that are pools drawn anew, with commas between.")],
    size: Annotated[int | None, typer.Option(help="Training images. Left out: the largest size.")] = None,
    metric: Annotated[Metric, typer.Option(callback=known_metric, help="Which accuracy.")] = "zero_shot",
    target: TargetName = None,
    test_set: Annotated[str, typer.Option(help="One of the target's test sets.")] = MAIN_TEST_SET,
    server: Server = DEFAULT_SERVER,
) -> None:
    """How much of the variance between runs comes from the pool, the draw and the optimisation, of an experiment with
    `draw_seeds`."""
    with _extra("judge"):
        from touchstone_verdict.variance_sources import nested_accuracies, nested_components
    with connected(server) as client:
        spec, rows = client.experiment(experiment).readable_spec, client.results(experiment).rows
        for name in [target] if target else spec.targets:
            asked = max(spec.sizes) if size is None else size
            found = nested_accuracies(rows, spec, arms.split(","), name, metric, asked, test_set)
            print_variance(console_for_output(), name, nested_components(found))


@app.command()
def links(experiment: ExperimentId, arm: ArmName, target: TargetName = None, server: Server = DEFAULT_SERVER) -> None:
    """How many of an arm's retrieved links gave an image, and why the others did not."""
    with connected(server) as client:
        print_links(console_for_output(), client.arm_links(experiment, arm, target))


@app.command()
def report(
    experiments: Annotated[list[str], typer.Argument(help="Ids of experiments, exp_...; a study's variants together.")],
    figure: Annotated[Path | None, typer.Option(help="Draw the accuracies of the first into this file.")] = None,
    metric: Annotated[Metric, typer.Option(callback=known_metric, help="Which accuracy to draw.")] = "zero_shot",
    server: Server = DEFAULT_SERVER,
) -> None:
    """What experiments found, as Markdown."""
    with connected(server) as client:
        findings = [_finding(client, experiment) for experiment in experiments]
    sys.stdout.write(markdown_reports(findings))
    if figure is not None:
        _draw(findings[0].results, metric, figure)


def _finding(client: Client, experiment: str) -> Finding:
    spec = client.experiment(experiment).readable_spec
    verdict = client.verdict(experiment) if spec.primary is not None else None
    return Finding(spec.name, client.results(experiment), verdict, client.label_cards(experiment))


def _draw(results: Results, metric: Metric, figure: Path) -> None:
    with _extra("figures"):
        from touchstone.figures import draw_accuracies
    draw_accuracies(results, metric, figure)


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """What an extra of the package installs: most installations only talk to a server."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise _stop(f"{error.name} is missing: pip install 'touchstone[{name}]'", 1) from error


@app.command()
def manifest(experiment: ExperimentId, server: Server = DEFAULT_SERVER) -> None:
    """What decides the numbers, as JSON: the spec, entries, steps and training sets with their digests."""
    with connected(server) as client:
        sys.stdout.write(client.manifest(experiment).model_dump_json(indent=2) + "\n")


@app.command()
def registration(experiment: ExperimentId, server: Server = DEFAULT_SERVER) -> None:
    """What was declared when an experiment was posted, byte by byte: `| sha256sum` gives the digest of the verdict."""
    with connected(server) as client:
        sys.stdout.write(client.registration(experiment))


@app.command()
def grid(
    experiment: ExperimentId,
    picture: Annotated[Path, typer.Argument(help="The file to draw; its suffix names the format.")],
    target: Annotated[str | None, typer.Option(help="Left out: the experiment's first.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="As many of the target's classes, at equal distances.")] = 8,
    each: Annotated[int, typer.Option(min=1, max=50, help="Images of a class and arm, the first that were kept.")] = 4,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Draw what every arm trains on, class by class, side by side."""
    with _extra("figures"):
        from touchstone.grid import Place, draw_grid, evenly, fetch_row
    with connected(server) as client:
        spec = client.experiment(experiment).readable_spec
        place = Place(experiment, target or spec.targets[0])
        shown = evenly(client.target(place.target).classes, classes)
        arms = [arm.name for arm in spec.training_arms]
        draw_grid([fetch_row(client, place, label, arms, each) for label in shown], each, picture)


@app.command()
def predictions(
    experiment: ExperimentId,
    file: Annotated[Path, typer.Argument(help="The parquet file to write; `touchstone judge` reads it.")],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Save which test images every finished run got right: what the verdict is computed from."""
    with connected(server) as client:
        size = client.save_predictions(experiment, file)
    console_for_output().print(f"{file}: {size / 2**20:.1f} MiB", highlight=False)


@app.command()
def cancel(owner: Owner, server: Server = DEFAULT_SERVER) -> None:
    """Stop an experiment or an upstream's ingest; what it has computed stays."""
    with connected(server) as client:
        console_for_output().print(f"{owner}: {_cancel(client, owner)}", highlight=False)


def _cancel(client: Client, owner: str) -> Phase:
    if owner.startswith(UPSTREAM):
        return client.cancel_upstream(owner.removeprefix(UPSTREAM)).phase
    return client.cancel(owner).phase


@app.command()
def delete(experiment: ExperimentId, server: Server = DEFAULT_SERVER) -> None:
    """Remove an experiment that has ended, with its history and verdict; what it computed is collected later."""
    with connected(server) as client:
        client.delete(experiment)
        console_for_output().print(f"{experiment}: deleted")


@app.command()
def storage(server: Server = DEFAULT_SERVER) -> None:
    """How many bytes the results of all experiments and upstreams hold, those with most of their own first."""
    with connected(server) as client:
        print_storage(console_for_output(), client.storage())


@app.command()
def takedowns(server: Server = DEFAULT_SERVER) -> None:
    """Images that no step uses any more, why, and the experiments whose results were computed with them."""
    with connected(server) as client:
        print_takedowns(console_for_output(), list(client.takedowns()))


@app.command()
def retry(
    owner: Owner,
    step: Annotated[str | None, typer.Option(help="Only this failed step: its id or its beginning.")] = None,
    watch: Watch = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Try again what failed, with all attempts; a cancelled experiment goes on."""
    if watch and owner.startswith(UPSTREAM):
        raise typer.BadParameter("only an experiment can be watched, not an upstream", param_hint="--watch")
    with connected(server) as client:
        if step is not None:
            again = client.retry_step(owner, _step_of(client, owner, step).id)
            console_for_output().print(f"{again.id} {again.kind}: {again.state}", highlight=False)
        else:
            console_for_output().print(f"{owner}: {_retry(client, owner)}", highlight=False)
        if watch:
            _watch(client, owner)


def _retry(client: Client, owner: str) -> Phase:
    if owner.startswith(UPSTREAM):
        return client.retry_upstream(owner.removeprefix(UPSTREAM)).phase
    return client.retry(owner).phase


def _step_of(client: Client, owner: str, prefix: str) -> StepView:
    return the_one_step(owner, prefix, list(islice(client.steps(owner, prefix=prefix), 2)))


@app.command()
def steps(
    owner: Owner,
    state: Annotated[StepState | None, typer.Option(help="Only steps in this state.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """The steps of an experiment or of an upstream's ingest, in an order in which they can be done."""
    with connected(server) as client:
        print_steps(console_for_output(), client.steps(owner, state=state))


@app.command()
def log(
    owner: Owner,
    step: Annotated[str | None, typer.Argument(help="A step's id or its beginning. Left out: all failed.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Why a step failed: its problem and the end of the worker's log."""
    console = console_for_output()
    with connected(server) as client:
        found = [_step_of(client, owner, step)] if step is not None else list(client.steps(owner, state="failed"))
        if not found:
            console.print(f"no step of {owner} has failed", highlight=False)
            _print_problems(console, client, owner)
        for each in found:
            print_log(console, client.step(owner, each.id))


def _print_problems(console: Console, client: Client, owner: str) -> None:
    """Those of an experiment that are not its steps': the ingest of its upstream may have failed."""
    for problem in () if owner.startswith(UPSTREAM) else client.experiment(owner).problems:
        console.print(describe(problem), style="red", markup=False, soft_wrap=True)


@app.command()
def clone(
    experiment: ExperimentId,
    set_: Annotated[list[str], typer.Option("--set", help="A change, e.g. sizes=[240,480] or curation.ranking=score.")],
    watch: Watch = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """The same experiment with changes; steps that stay the same are reused."""
    with connected(server) as client:
        copy = client.clone(experiment, parse_changes(set_))
        reused = ", ".join(f"{kind} {count}" for kind, count in copy.reused_by_kind.items())
        console_for_output().print(
            f"{copy.id}: {copy.steps.total} steps, {copy.steps.reused} reused" + f" ({reused})" * bool(reused)
        )
        if watch:
            _watch(client, copy.id)


@app.command()
def project(server: Server = DEFAULT_SERVER) -> None:
    """The project of your key, its limits, and how much of them is used."""
    with connected(server) as client:
        print_project(console_for_output(), client.project())


@app.command()
def audit(
    count: Annotated[int, typer.Option(min=1, help="How many entries.")] = 30, server: Server = DEFAULT_SERVER
) -> None:
    """Who did what in your project, the newest first."""
    with connected(server) as client:
        print_audit(console_for_output(), list(islice(client.audit(), count)))


@app.command()
def share(
    thing: Annotated[str, typer.Argument(help="An experiment's id, or targets/NAME, upstreams/NAME, encoders/NAME...")],
    stop: Annotated[bool, typer.Option("--stop", help="Share it no longer.")] = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Let every project read an experiment, or use what is registered. Only yours may change it."""
    with connected(server) as client:
        client.share(thing, shared=not stop)


@keys.command("create")
def create_key(
    label: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[str, typer.Option(callback=known_scope, help="read, write or admin.")] = "read",
    days: Annotated[int | None, typer.Option(help="After which it expires.")] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """A new key, which is printed this once."""
    with connected(server) as client:
        typer.echo(client.create_key(label, cast("Scope", scope), days).key)


@keys.command("list")
def list_keys(server: Server = DEFAULT_SERVER) -> None:
    """All keys, without the keys themselves."""
    with connected(server) as client:
        print_keys(console_for_output(), list(client.keys()))


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="From `touchstone keys list`.")],
    server: Server = DEFAULT_SERVER,
) -> None:
    """Nobody gets in with it from now on."""
    with connected(server) as client:
        client.revoke_key(key_id)
