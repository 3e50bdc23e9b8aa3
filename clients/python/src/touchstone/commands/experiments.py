"""Post experiments, follow them, stop and repeat them."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from touchstone_contracts.power import DeclaredSpread
from touchstone_contracts.views import ExperimentView, Phase

from touchstone.account_tables import print_account
from touchstone.client import DEFAULT_SERVER, UPSTREAM, Client
from touchstone.commands.steps import step_of
from touchstone.documents import parse_changes, read_study
from touchstone.phases import FINISHED
from touchstone.tables import console_for_output, print_estimation, print_experiment, print_registration
from touchstone.terminal import (
    ExperimentId,
    Json,
    Owner,
    Server,
    Watch,
    connected,
    find_owner,
    found_experiment,
    print_json,
    readable_failures,
    show,
    told_of,
    watch_to_the_end,
)

app = typer.Typer()

StudyPath = Annotated[Path, typer.Argument(help="A YAML file, or a folder of study.yaml and perhaps variants.yaml.")]


@app.command()
def run(study: StudyPath, watch: Watch = False, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Post the experiments of a study. Re-posting a study finds the existing experiments."""
    with readable_failures():
        documents = read_study(study)
    with connected(server) as client:
        posted = [client.post_document(document) for document in documents]
        if not (json and watch):
            views = [view for view, _ in posted]
            show(views, json, lambda console: _print_posted(console, posted))
        for experiment, _ in posted if watch else ():
            watch_to_the_end(client, experiment.id, json)


def _print_posted(console: Console, posted: list[tuple[ExperimentView, bool]]) -> None:
    for experiment, created in posted:
        state = f"{'created' if created else 'was there already'}: {experiment.phase}"
        console.print(f"{experiment.id} {experiment.name}, {state}", soft_wrap=True, markup=False)


@app.command()
def change(
    experiment: ExperimentId,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="All its tags from now on; may repeat.")] = None,
    archive: Annotated[bool | None, typer.Option("--archive/--unarchive", help="Off the lists, or back.")] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Rename, tag or archive an experiment; what it asked and found stays."""
    with connected(server) as client:
        changed = client.change(client.find_id(experiment), name=name, tags=tag, archived=archive)
    show(changed, json, lambda console: console.print(_called(changed), soft_wrap=True, markup=False, highlight=False))


def _called(experiment: ExperimentView) -> str:
    tags = f", tagged {', '.join(experiment.tags)}" if experiment.tags else ""
    return f"{experiment.id} {experiment.name}{tags}{', archived' if experiment.archived_at else ''}"


@app.command()
def estimate(
    study: StudyPath,
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
    json: Json = False,
) -> None:
    """What a study would cost, and the smallest difference it could show. Posts nothing.

    Spreads left out come from earlier experiments on the server; where there are none, a default is assumed."""
    with readable_failures():
        documents = read_study(study)
        spread = DeclaredSpread(seed_sd=seed_sd, image_sd=image_sd, interaction_sd=interaction_sd)
    with connected(server) as client:
        found = [client.estimate(document, spread) for document in documents]
    if json:
        print_json(found)
    for estimation in () if json else found:
        print_estimation(console_for_output(), estimation)


@app.command("open")
def open_page(experiment: ExperimentId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Open an experiment's page in the browser. In a pipe, or with --json, only its address is printed."""
    with connected(server) as client:
        page = client.find(experiment).url
    console = console_for_output()
    show({"url": page}, json, lambda console: console.print(page, highlight=False, soft_wrap=True))
    if console.is_terminal and not json:
        typer.launch(page)


@app.command()
def cancel(owner: Owner, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Stop an experiment or an upstream's ingest; what it has computed stays."""
    with connected(server) as client:
        owner = find_owner(client, owner)
        before = _phase(client, owner)
        after = before if before in FINISHED else _cancel(client, owner)
    told = f"has {before} already, so there is nothing to cancel" if before in ("succeeded", "failed") else after
    told = "was cancelled already" if before == "cancelled" else told
    separator = " " if before in FINISHED else ": "
    answer = {"id": owner, "phase": after, "cancelled": before not in FINISHED}
    show(answer, json, lambda console: console.print(f"{owner}{separator}{told}", highlight=False, soft_wrap=True))


def _phase(client: Client, owner: str) -> Phase:
    if owner.startswith(UPSTREAM):
        return client.upstream(owner.removeprefix(UPSTREAM)).phase
    return client.experiment(owner).phase


def _cancel(client: Client, owner: str) -> Phase:
    if owner.startswith(UPSTREAM):
        return client.cancel_upstream(owner.removeprefix(UPSTREAM)).phase
    return client.cancel(owner).phase


@app.command()
def delete(experiment: ExperimentId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Remove an experiment that has ended, with its history and verdict; what it computed is collected later."""
    with connected(server) as client:
        experiment = client.find_id(experiment)
        client.delete(experiment)
    answer = {"id": experiment, "deleted": True}
    show(answer, json, lambda console: console.print(f"{experiment}: deleted", highlight=False))


@app.command()
def retry(
    owner: Owner,
    step: Annotated[str | None, typer.Option(help="Only this failed step: its id or its beginning.")] = None,
    watch: Watch = False,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Try again what failed, with all attempts; a cancelled experiment goes on."""
    if watch and owner.startswith(UPSTREAM):
        raise typer.BadParameter("only an experiment can be watched, not an upstream", param_hint="--watch")
    with connected(server) as client:
        owner = find_owner(client, owner)
        answer, told = _retried(client, owner, step)
        told_of(client, owner, answer, json, lambda console: console.print(told, highlight=False), watch=watch)


def _retried(client: Client, owner: str, step: str | None) -> tuple[dict[str, Any], str]:
    if step is not None:
        again = client.retry_step(owner, step_of(client, owner, step).id)
        answer = {"id": owner, "step": again.id, "kind": again.kind, "state": again.state}
        return answer, f"{again.id} {again.kind}: {again.state}"
    phase = _retry(client, owner)
    return {"id": owner, "phase": phase}, f"{owner}: {phase}"


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
    json: Json = False,
) -> None:
    """The same experiment with changes; steps that stay the same are reused."""
    with readable_failures():
        changes = parse_changes(set_)
    with connected(server) as client:
        copy = client.clone(client.find_id(experiment), changes)
        reused = ", ".join(f"{kind} {count}" for kind, count in copy.reused_by_kind.items())
        told = f"{copy.id}: {copy.steps.total} steps, {copy.steps.reused} reused" + f" ({reused})" * bool(reused)
        told_of(client, copy.id, copy, json, lambda console: console.print(told, soft_wrap=True), watch=watch)


def show_experiment(client: Client, text: str, watch: bool, json: bool) -> None:
    """What an experiment asks and how far it is."""
    found = found_experiment(client, text)
    if json and not watch:
        print_json(found)
        return
    if not json:
        print_experiment(console_for_output(), found)
    if watch:
        watch_to_the_end(client, found.id, json)
    else:
        print_account(console_for_output(), client.account(found.id))
        print_registration(console_for_output(), found.registration)
