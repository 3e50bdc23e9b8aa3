"""A cost of a point is shown where a point was gained, and error bars are the same statistic everywhere."""

from pathlib import Path

import pytest
from support.finished_experiments import finish_experiment, post_experiment
from support.memory_services import api_client, memory_services
from touchstone.tables import per_point_words
from touchstone_contracts.layout import Cell
from touchstone_contracts.views import ArmCost, Cost

SPENT = Cost(cpu_seconds=10, gpu_seconds=0)


def nothing_helps(cell: Cell, metric: str) -> float:
    """Synthetic images do harm, by less than the interval is wide."""
    return {"none": 0.60, "retrieved": 0.75, "synthetic": 0.595}[cell.arm]


@pytest.fixture
def page(tmp_path: Path) -> str:
    services = memory_services(tmp_path)
    told = post_experiment(services)
    finish_experiment(services, told, truth=nothing_helps)
    with api_client(services) as client:
        answered = client.get(f"/v1/experiments/{told.id}/verdict").json()
        gains = {cost["arm"]: (cost["gain"] > 0, cost["per_point_at_least"] is not None) for cost in answered["costs"]}
        # The case at hand: no gain by the mean, one at the upper end of the interval.
        assert gains["synthetic"] == (False, True)
        found = client.get(f"/experiments/{told.id}").text
    services.store.close()
    return found


def test_an_arm_that_gained_nothing_has_no_cost_of_a_point_on_the_page(page: str) -> None:
    costs = page.partition("above the untouched encoder</summary>")[2].partition("</table>")[0]
    [row] = [row for row in costs.split("<tr>") if row.startswith('<th scope="row">synthetic')]
    cells = [cell.partition("</td>")[0].partition(">")[2] for cell in row.split("<td")[1:]]
    assert len(cells) == 6
    assert cells[3:] == ["no gain measured", "", ""]
    assert "nothing gained" not in page


def test_error_bars_on_the_page_are_those_of_its_tables(page: str) -> None:
    assert "error bars: ± 1 standard deviation over seeds, as in the tables" in page
    assert "mean ± standard deviation over seeds" in page
    assert "standard deviation over 3 seeds)</title>" in page
    assert "standard error" not in page[page.index('id="curves"') : page.index('id="results"')]


@pytest.mark.parametrize(
    ("gain", "per_point", "said"),
    [(0.02, SPENT, "10 CPU s"), (-0.01, None, "no gain measured"), (None, None, "")],
)
def test_terminal_and_report_say_what_a_point_cost_or_that_none_was_gained(
    gain: float | None, per_point: Cost | None, said: str
) -> None:
    facts = {"arm": "made", "metric": "zero_shot", "sourcing": SPENT, "adapting": SPENT}
    entry = ArmCost.model_validate(
        {**facts, "gain": gain, "per_point": per_point, "per_point_at_least": SPENT, "per_point_at_most": None}
    )
    assert per_point_words(entry) == said
