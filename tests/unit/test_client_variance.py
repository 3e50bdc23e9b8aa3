"""Components of variance of an experiment that the API answers, at the terminal."""

from rich.console import Console
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import api_client
from support.specs import spec
from touchstone.variance_tables import print_variance
from touchstone_api.bootstrap import Services
from touchstone_contracts.views import ExperimentView, Results
from touchstone_verdict.variance_sources import nested_accuracies, nested_components


def test_an_experiment_with_held_draws_gives_components_at_the_terminal(services: Services) -> None:
    api = api_client(services)
    told = post_experiment(services, spec(seeds=range(6), draw_seeds=(0, 0, 1, 1, 2, 2)))
    finish_experiment(services, told)
    view = ExperimentView.model_validate_json(api.get(f"/v1/experiments/{told.id}").content)
    results = Results.model_validate_json(api.get(f"/v1/experiments/{told.id}/results").content)
    accuracies = nested_accuracies(
        results.rows, view.readable_spec, ("retrieved", "synthetic"), "fine", "zero_shot", 12, "test"
    )
    assert accuracies.shape == (2, 3, 2)
    console = Console(width=100)
    with console.capture() as captured:
        print_variance(console, "fine", nested_components(accuracies))
    lines = captured.get().splitlines()
    assert lines[0].startswith("fine: standard deviation in points")
    assert [next(line for line in lines if source in line) for source in ("pool", "draw", "optimisation")]
