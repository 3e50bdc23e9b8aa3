"""What an experiment found."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.views import Prices, Results

from touchstone.class_tables import print_classes, print_curation, print_links
from touchstone.client import DEFAULT_SERVER, Client
from touchstone.label_tables import print_label_cards
from touchstone.report import Finding, markdown_reports
from touchstone.tables import console_for_output, print_counts, print_results, print_verdict
from touchstone.terminal import ArmName, ExperimentId, Server, TargetName, connected, extra, known_metric
from touchstone.variance_tables import print_variance

app = typer.Typer()


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
    with extra("judge"):
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
    with extra("figures"):
        from touchstone.figures import draw_accuracies
    draw_accuracies(results, metric, figure)


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
    with extra("figures"):
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
