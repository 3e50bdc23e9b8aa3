"""Post experiments, follow them, stop and repeat them."""

from pathlib import Path
from typing import Annotated

import typer
from touchstone_contracts.catalogue import Catalogue
from touchstone_contracts.power import DeclaredSpread
from touchstone_contracts.views import Phase

from touchstone.account_tables import print_account
from touchstone.client import DEFAULT_SERVER, UPSTREAM, Client
from touchstone.commands.steps import step_of
from touchstone.documents import parse_changes, read_document, read_study
from touchstone.tables import (
    console_for_output,
    print_estimation,
    print_experiment,
    print_experiments,
    print_registration,
)
from touchstone.terminal import ExperimentId, Owner, Server, Watch, connected, watch_to_the_end

app = typer.Typer()


@app.command()
def apply(catalogue: Path, server: Server = DEFAULT_SERVER) -> None:
    """Register the encoders, generators, upstreams, targets and data sets of a catalogue file."""
    with connected(server) as client:
        entries = Catalogue.model_validate(read_document(catalogue))
        for resource, new in client.apply(entries).items():
            console_for_output().print(f"{resource}: {len(getattr(entries, resource))} registered, {new} of them new")


@app.command()
def run(study: Path, watch: Watch = False, server: Server = DEFAULT_SERVER) -> None:
    """Post a study: a file, or a folder of study.yaml and variants.yaml. The same again finds the same experiments."""
    with connected(server) as client:
        posted = [client.post_document(document) for document in read_study(study)]
        for experiment, created in posted:
            state = f"{'created' if created else 'was there already'}: {experiment.phase}"
            console_for_output().print(f"{experiment.id} {experiment.name}, {state}")
        for experiment, _ in posted if watch else ():
            watch_to_the_end(client, experiment.id)


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
            watch_to_the_end(client, experiment)
        else:
            print_account(console_for_output(), client.account(experiment))
            print_registration(console_for_output(), found.registration)


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
            again = client.retry_step(owner, step_of(client, owner, step).id)
            console_for_output().print(f"{again.id} {again.kind}: {again.state}", highlight=False)
        else:
            console_for_output().print(f"{owner}: {_retry(client, owner)}", highlight=False)
        if watch:
            watch_to_the_end(client, owner)


def _retry(client: Client, owner: str) -> Phase:
    if owner.startswith(UPSTREAM):
        return client.retry_upstream(owner.removeprefix(UPSTREAM)).phase
    return client.retry(owner).phase


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
            watch_to_the_end(client, copy.id)
