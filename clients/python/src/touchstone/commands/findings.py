"""What an experiment found."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET, ClassLabel
from touchstone_contracts.views import ClassTable, Prices

from touchstone.class_tables import print_classes, print_curation, print_links
from touchstone.client import DEFAULT_SERVER
from touchstone.label_tables import print_label_cards
from touchstone.names import one_of
from touchstone.query_tables import print_queries
from touchstone.tables import print_counts, print_results, print_verdict
from touchstone.terminal import (
    ArmName,
    ExperimentId,
    Json,
    Server,
    TargetName,
    connected,
    found_experiment,
    known_metric,
    needing,
    require_writable,
    show,
)
from touchstone.variance_tables import print_variance

app = typer.Typer()

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp")


def picture_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in PICTURES:
        raise typer.BadParameter(f"{str(path)!r} does not end in a format of pictures: {', '.join(PICTURES)}")
    return path


@app.command()
def queries(experiment: ExperimentId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """What retrieval looked for in captions, and how many it found; queries without any are red."""
    with connected(server) as client:
        found = client.queries(client.find_id(experiment))
    show(found, json, lambda console: print_queries(console, found))


@app.command()
def results(
    experiment: ExperimentId,
    csv: Annotated[bool, typer.Option("--csv", help="One row per number, for other programs.")] = False,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """The accuracies measured so far."""
    if csv and json:
        raise typer.BadParameter("choose one of --csv and --json")
    with connected(server) as client:
        experiment = client.find_id(experiment)
        if csv:
            sys.stdout.write(client.results_csv(experiment))
            return
        found = client.results(experiment)

    def print_both(console: Console) -> None:
        print_results(console, found)
        print_counts(console, found)

    show(found, json, print_both)


@app.command()
def verdict(
    experiment: ExperimentId,
    cpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of a CPU core, in any currency.")] = None,
    gpu_hour: Annotated[float | None, typer.Option(help="Price of an hour of a GPU, in the same currency.")] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Which arm is better, by how much, how sure that is, and what it cost."""
    with connected(server) as client:
        prices = Prices(cpu_hour=cpu_hour, gpu_hour=gpu_hour)
        found = client.verdict(client.find_id(experiment), prices=prices)
    show(found, json, lambda console: print_verdict(console, found))


@app.command()
def classes(
    experiment: ExperimentId,
    arm: ArmName,
    size: Annotated[int | None, typer.Option(help="Training images. Left out: the largest size.")] = None,
    metric: Annotated[
        str | None, typer.Option(callback=known_metric, help="Left out: the first that is measured.")
    ] = None,
    target: TargetName = None,
    test_set: Annotated[str, typer.Option(help="One of the target's test sets.")] = MAIN_TEST_SET,
    only: Annotated[list[str] | None, typer.Option("--class", help="Only this class; may be repeated.")] = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """An arm class by class: what it lost against the untouched encoder comes first."""
    with connected(server) as client:
        detail = found_experiment(client, experiment, arms=[arm], target=target)
        asked = max(detail.readable_spec.sizes) if size is None else size
        table = client.classes(detail.id, arm, asked, metric=metric, target=target, test_set=test_set)
        found = _of_classes(table, only or [])
    show(found, json, lambda console: print_classes(console, found))


def _of_classes(table: ClassTable, only: list[str]) -> ClassTable:
    """The rows of these classes, all where none is named. Raises UnknownName."""
    for name in only:
        one_of("class", name, [row.display_name for row in table.classes])
    rows = tuple(row for row in table.classes if not only or row.display_name in only)
    kept = {row.class_id for row in rows}
    confusions = tuple(each for each in table.confusions if not only or each.class_id in kept)
    return table.model_copy(update={"classes": rows, "confusions": confusions})


@app.command()
def curation(
    experiment: ExperimentId,
    arm: ArmName,
    target: TargetName = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """An arm's images before and after curation, class by class, with the reasons."""
    with connected(server) as client:
        detail = found_experiment(client, experiment, arms=[arm], target=target)
        found = client.arm_curation(detail.id, arm, target)
        labels = client.target(found.target).classes
    show(found, json, lambda console: print_curation(console, found, labels))


@app.command()
def labels(experiment: ExperimentId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """How right and how evenly spread the labels of each arm's images are."""
    with connected(server) as client:
        found = client.label_cards(client.find_id(experiment))
    show(found, json, lambda console: print_label_cards(console, found))


@app.command()
def variance(
    experiment: ExperimentId,
    arms: Annotated[str, typer.Option(help="One arm, or several that are pools drawn anew, with commas between.")],
    size: Annotated[int | None, typer.Option(help="Training images. Left out: the largest size.")] = None,
    metric: Annotated[Metric, typer.Option(callback=known_metric, help="Which accuracy.")] = "zero_shot",
    target: TargetName = None,
    test_set: Annotated[str, typer.Option(help="One of the target's test sets.")] = MAIN_TEST_SET,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """How much of the variance between runs comes from the pool, the draw and the optimisation, of an experiment with
    `draw_seeds`."""
    with needing("judge"):
        from touchstone_verdict.variance_sources import nested_accuracies, nested_components
    with connected(server) as client:
        names = arms.split(",")
        detail = found_experiment(client, experiment, arms=names, target=target)
        spec, rows = detail.readable_spec, client.results(detail.id).rows
        asked = max(spec.sizes) if size is None else size
        found = {
            name: nested_components(nested_accuracies(rows, spec, names, name, metric, asked, test_set))
            for name in ([target] if target else spec.targets)
        }

    def print_each(console: Console) -> None:
        for name, components in found.items():
            print_variance(console, name, components)

    show(found, json, print_each)


@app.command()
def links(
    experiment: ExperimentId,
    arm: ArmName,
    target: TargetName = None,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """How many of an arm's retrieved links gave an image, and why the others did not."""
    with connected(server) as client:
        detail = found_experiment(client, experiment, arms=[arm], target=target)
        found = client.arm_links(detail.id, arm, target)
    show(found, json, lambda console: print_links(console, found))


@app.command()
def manifest(experiment: ExperimentId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """What decides the numbers, as JSON: the spec, entries, steps and training sets with their digests."""
    with connected(server) as client:
        found = client.manifest(client.find_id(experiment))
    show(found, json, lambda _: sys.stdout.write(found.model_dump_json(indent=2) + "\n"))


@app.command()
def registration(experiment: ExperimentId, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """What was declared when an experiment was posted, byte by byte: `| sha256sum` gives the digest of the verdict."""
    with connected(server) as client:
        experiment = client.find_id(experiment)
        text = client.registration(experiment)
    show({"experiment": experiment, "registration": text}, json, lambda _: sys.stdout.write(text))


@app.command()
def grid(
    experiment: ExperimentId,
    picture: Annotated[
        Path, typer.Argument(callback=picture_file, help="The file to draw; its suffix names the format.")
    ],
    target: Annotated[str | None, typer.Option(help="Left out: the experiment's first.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="As many of the target's classes, at equal distances.")] = 8,
    only: Annotated[list[str] | None, typer.Option("--class", help="This class instead; may be repeated.")] = None,
    each: Annotated[int, typer.Option(min=1, max=50, help="Images of a class and arm, the first that were kept.")] = 4,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Draw what every arm trains on, class by class, side by side."""
    with needing("figures"):
        from touchstone.grid import ExperimentTarget, draw_grid, evenly, fetch_row
    with connected(server) as client:
        require_writable(picture)
        detail = found_experiment(client, experiment, target=target)
        spec = detail.readable_spec
        chosen = ExperimentTarget(detail.id, target or spec.targets[0])
        labels = client.target(chosen.target).classes
        shown = _called(labels, only) if only else evenly(labels, classes)
        arms = [arm.name for arm in spec.training_arms]
        draw_grid([fetch_row(client, chosen, label, arms, each) for label in shown], each, picture)
    names = [label.display_name for label in shown]
    answer = {"file": picture, "target": chosen.target, "classes": names, "arms": arms}
    told = f"{picture}: {len(names)} classes of {chosen.target}, {each} images of each arm"
    show(answer, json, lambda console: console.print(told, highlight=False, soft_wrap=True, markup=False))


def _called(labels: tuple[ClassLabel, ...], names: list[str]) -> list[ClassLabel]:
    """Raises UnknownName."""
    for name in names:
        one_of("class", name, [label.display_name for label in labels])
    return [label for label in labels if label.display_name in names]


@app.command()
def predictions(
    experiment: ExperimentId,
    file: Annotated[Path, typer.Argument(help="The parquet file to write; `touchstone judge` reads it.")],
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Save which test images every finished run got right: what the verdict is computed from."""
    with connected(server) as client:
        require_writable(file)
        size = client.save_predictions(client.find_id(experiment), file)
    told = f"{file}: {size / 2**20:.1f} MiB"
    answer = {"file": file, "bytes": size}
    show(answer, json, lambda console: console.print(told, highlight=False, soft_wrap=True, markup=False))
