"""What experiments found, for a study's README, a reader without the server, or a paper."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from touchstone_contracts.adaptation import METRICS, Metric
from touchstone_contracts.views import Results

from touchstone.client import DEFAULT_SERVER, Client
from touchstone.commands.findings import picture_file
from touchstone.report import Finding, html_reports, latex_reports, markdown_reports
from touchstone.reports.accuracies import Spread
from touchstone.reports.blocks import Picture
from touchstone.terminal import Json, Server, connected, known_metric, needing, require_writable, show

app = typer.Typer()

Format = Literal["markdown", "html", "latex"]
LATEX_PICTURES = (".pdf", ".png", ".jpg", ".jpeg")


@app.command()
def report(
    experiments: Annotated[list[str], typer.Argument(help="Ids or names of experiments; a study's variants together.")],
    written_as: Annotated[
        Format, typer.Option("--format", help="html: one file with its figure; latex: booktabs tables.")
    ] = "markdown",
    to: Annotated[
        Path | None, typer.Option(help="The file to write. LaTeX has its figure beside it, as PDF, unless --figure is.")
    ] = None,
    spread: Annotated[
        Spread, typer.Option(help="Beside means: standard deviation, or interval of the mean, over seeds.")
    ] = "std",
    figure: Annotated[
        Path | None, typer.Option(callback=picture_file, help="Draw the accuracies of the first into this file.")
    ] = None,
    metric: Annotated[Metric, typer.Option(callback=known_metric, help="Which accuracy to draw.")] = "zero_shot",
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """What experiments found, with methods, evidence and references, as Markdown, HTML or LaTeX."""
    with connected(server) as client:
        figure = _figure_file(written_as, to, figure)
        if figure is not None or written_as == "html":
            with needing("figures"):
                import touchstone.figures  # noqa: F401
        if spread == "interval":
            with needing("judge"):
                import scipy.stats  # noqa: F401
        for path in filter(None, (to, figure)):
            require_writable(path)
        findings = [_finding(client, client.find_id(experiment)) for experiment in experiments]
        picture = _draw(findings[0].results, metric, written_as, to, figure)
        write = {"markdown": markdown_reports, "html": html_reports, "latex": latex_reports}[written_as]
        text = write(findings, spread, picture)
        if to is not None:
            to.write_text(text, encoding="utf-8")
    answer = [finding._asdict() for finding in findings]
    told = f"{to}\n" if to is not None else text
    show(answer, json, lambda _: sys.stdout.write(told))


def _figure_file(written_as: Format, to: Path | None, figure: Path | None) -> Path | None:
    if written_as != "latex":
        return figure
    if figure is not None and figure.suffix.lower() not in LATEX_PICTURES:
        raise typer.BadParameter(
            f"LaTeX cannot include {str(figure)!r}: name a file that ends in {', '.join(LATEX_PICTURES)}",
            param_hint="--figure",
        )
    return figure or (to.with_name(f"{to.stem}-accuracies.pdf") if to is not None else None)


def _draw(results: Results, metric: Metric, written_as: Format, to: Path | None, figure: Path | None) -> Picture | None:
    """What the report shows. Markdown shows a figure that was asked for; LaTeX and Markdown name it from their file."""
    if figure is None and written_as != "html":
        return None
    from touchstone.figures import accuracy_svg, draw_accuracies

    caption = f"{METRICS[metric].words.capitalize()} over training images; error bars: standard deviation over seeds"
    if figure is not None:
        draw_accuracies(results, metric, figure)
    if written_as == "html":
        return Picture(caption, svg=accuracy_svg(results, metric))
    assert figure is not None
    beside = to is None or to.parent.resolve() == figure.parent.resolve()
    return Picture(caption, file=figure.name if beside else str(figure.resolve()))


def _finding(client: Client, experiment: str) -> Finding:
    detail = client.experiment(experiment)
    spec = detail.readable_spec
    return Finding(
        name=spec.name,
        results=client.results(experiment),
        verdict=client.verdict(experiment) if spec.primary is not None else None,
        labels=client.label_cards(experiment),
        detail=detail,
        manifest=client.manifest(experiment),
    )
