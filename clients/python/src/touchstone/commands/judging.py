"""The verdict on predictions made elsewhere."""

from pathlib import Path
from typing import Annotated

import typer
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.catalogue import MAIN_TEST_SET
from touchstone_contracts.experiment import CONFIDENCE, SPREAD, Comparison, FailedRuns, Spending, Spread, Stopping

from touchstone.tables import print_verdict
from touchstone.terminal import Json, known_metric, needing, readable_failures, show

app = typer.Typer()


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
    json: Json = False,
) -> None:
    """Which arm is better, from predictions made elsewhere: columns arm, target, test_set, size, seed, image, correct,
    and perhaps metric, cluster and validation. Asks no server."""
    with needing("judge"):
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
    show(verdict, json, lambda console: print_verdict(console, verdict))
