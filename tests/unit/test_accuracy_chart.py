"""Charts of accuracy by size: every number is that of the results, on one experiment's page, on several, in files."""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from itertools import pairwise
from math import log
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import finish_experiment, post, post_experiment
from support.pages import of_another_project, page, section
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.accuracy_chart import (
    GEOMETRY,
    MARKERS,
    MOST_SERIES,
    SMALLEST_SPAN,
    AccuracyChart,
    charts_of_arms,
)
from touchstone_api.dashboard.facts import AccuracyTable
from touchstone_contracts.views import ScalingFit, ScalingPoint, SummaryRow

SIZES = (10, 20, 80)
FLOOR = GEOMETRY.plot_height - GEOMETRY.bottom
TITLE = re.compile(r"(?P<arm>[\w -]+): (?P<mean>[\d.]+) %(?: at (?P<size>\d+) images)?")


def row(arm: str, size: int, mean: float, std: float | None = 0.01) -> SummaryRow:
    return SummaryRow(target="flags", arm=arm, size=size, metric="zero_shot", mean=mean, std=std, seeds=3)


def table(*means: Sequence[float], untouched: float | None = 0.3, std: float | None = 0.01) -> AccuracyTable:
    """One arm for each row of means, which are those of the sizes."""
    return AccuracyTable(
        target="flags",
        metric="zero_shot",
        test_set="test",
        sizes=SIZES,
        baseline=None if untouched is None else row("none", 0, untouched, std=None),
        rows=tuple(
            (
                f"arm-{number}",
                tuple(row(f"arm-{number}", size, mean, std) for size, mean in zip(SIZES, of_arm, strict=False)),
            )
            for number, of_arm in enumerate(means)
        ),
    )


def fit(arm: str, low: float | None = 0.35) -> ScalingFit:
    points = tuple(
        ScalingPoint(size=size, accuracy=0.4, low=low, high=None if low is None else 0.45, forecast=size > SIZES[-1])
        for size in (10, 20, 80, 160)
    )
    return ScalingFit(
        target="flags", arm=arm, metric="zero_shot", ceiling=0.5, gap=0.1, exponent=1, error=0, points=points
    )


def drawn(*tables: AccuracyTable, fits: Sequence[ScalingFit] = ()) -> AccuracyChart:
    [chart] = charts_of_arms(tables, fits)
    return chart


def accuracy_at(chart: AccuracyChart, y: float) -> float:
    """Read from the chart as a person would: between its lowest and highest label."""
    (bottom, lowest), (top, highest) = chart.up[0], chart.up[-1]
    return (float(lowest) + (float(highest) - float(lowest)) * (y - bottom) / (top - bottom)) / 100


def test_marks_and_error_bars_lie_where_the_axis_says() -> None:
    chart = drawn(table((0.412, 0.555, 0.61), (0.2, 0.39, 0.55)))
    marks = [mark for each in chart.series for mark in each.marks]
    assert len(marks) == 6
    for mark in marks:
        assert accuracy_at(chart, mark.y) == pytest.approx(mark.row.mean, abs=0.001)
        assert accuracy_at(chart, mark.high) == pytest.approx(mark.row.mean + 0.01, abs=0.001)
        assert accuracy_at(chart, mark.low) == pytest.approx(mark.row.mean - 0.01, abs=0.001)
    [(_, untouched)] = chart.untouched
    assert accuracy_at(chart, untouched.y) == pytest.approx(0.3, abs=0.001)


def test_sizes_lie_on_a_logarithmic_axis() -> None:
    (first, _), (second, _), (third, _) = drawn(table((0.4, 0.5, 0.6))).across
    assert (second - first) / (third - first) == pytest.approx(log(2) / log(8), abs=0.005)


@pytest.mark.parametrize("means", [(0.5, 0.501, 0.503), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
def test_small_differences_do_not_fill_the_chart(means: Sequence[float]) -> None:
    chart = drawn(table(means, untouched=None, std=None))
    assert (float(chart.up[-1][1]) - float(chart.up[0][1])) / 100 >= SMALLEST_SPAN
    ys = [mark.y for mark in chart.series[0].marks]
    assert max(ys) - min(ys) <= 0.15 * (FLOOR - GEOMETRY.top)


@pytest.mark.parametrize("means", [(0.0, 0.5, 1.0), (0.41, 0.43, 0.44), (0.3, 0.3, 0.9), (0.115, 0.205, 0.31)])
def test_everything_lies_within_the_plot_and_between_round_labels(means: Sequence[float]) -> None:
    chart = drawn(table(means, untouched=None, std=None), fits=())
    assert all(GEOMETRY.top <= mark.y <= FLOOR for mark in chart.series[0].marks)
    assert all(GEOMETRY.left <= mark.x <= GEOMETRY.width - GEOMETRY.right for mark in chart.series[0].marks)
    labels = [float(label) for _, label in chart.up]
    assert 3 <= len(labels) <= 8
    assert all(label == round(label) for label in labels)
    assert len({round(later - earlier, 6) for earlier, later in pairwise(labels)}) == 1


def test_a_single_size_has_its_mark_in_the_middle_and_the_untouched_encoder_beside_it() -> None:
    chart = drawn(table((0.4,)))
    [mark] = chart.series[0].marks
    assert mark.x == pytest.approx((GEOMETRY.left + GEOMETRY.width - GEOMETRY.right) / 2, abs=1)
    assert [name for name, _ in chart.untouched] == ["untouched encoder"]


def test_without_a_fit_the_means_are_joined_and_with_one_the_law_is_drawn_dotted_beyond_them() -> None:
    chart = drawn(table((0.4, 0.5, 0.6), (0.4, 0.4, 0.4)), fits=[fit("arm-1"), replace_target(fit("arm-0"))])
    joined, fitted = chart.series
    assert joined.line == " ".join(f"{mark.x},{mark.y}" for mark in joined.marks)
    assert (joined.forecast, joined.band) == ("", "")
    assert len(fitted.line.split()) == 3
    assert len(fitted.forecast.split()) == 2  # from the largest measured size to the one beyond
    assert len(fitted.band.split()) == 8
    assert fitted.forecast.split()[0] == fitted.line.split()[-1]


def replace_target(other: ScalingFit) -> ScalingFit:
    return other.model_copy(update={"target": "birds"})


def test_a_law_of_one_seed_has_no_band() -> None:
    assert drawn(table((0.4, 0.5, 0.6)), fits=[fit("arm-0", low=None)]).series[0].band == ""


def test_an_arm_keeps_its_colour_while_another_has_nothing_yet() -> None:
    waiting = table((), (0.4, 0.5))
    [series] = drawn(waiting).series
    assert series.colour == drawn(table((0.1, 0.2), (0.4, 0.5))).series[1].colour == 2
    assert charts_of_arms([table((), ())]) == []


def test_series_beyond_the_colours_differ_by_their_markers() -> None:
    chart = drawn(table(*[(0.1 * number, 0.5) for number in range(MOST_SERIES)]))
    looks = {(each.colour, each.marker) for each in chart.series}
    assert len(looks) == len(chart.series) == MOST_SERIES
    assert {each.marker for each in chart.series} <= set(MARKERS)


def test_labels_of_sizes_leave_each_other_room_and_the_largest_is_always_there() -> None:
    many = tuple(range(100, 1100, 100))
    crowded = replace(table((0.4,)), rows=(("arm-0", tuple(row("arm-0", size, 0.4) for size in many)),), sizes=many)
    across = drawn(crowded).across
    labelled = [x for x, label in across if label]
    assert len(across) == 10
    assert across[-1][1] == "1000"
    assert all(later - earlier >= 30 for earlier, later in pairwise(labelled))


def test_the_page_has_a_chart_of_every_measure_and_its_numbers_are_those_of_the_results(
    api: TestClient, services: Services
) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24)))
    finish_experiment(services, told, exhausted=frozenset({("synthetic", 24)}))
    summary = api.get(f"/v1/experiments/{told.id}/results").json()["summary"]
    charts = page(api, f"/experiments/{told.id}").split('<figure class="chart">')[1:]
    assert len(charts) == 2 * 2  # targets, metrics
    for chart in charts:
        [(target, metric)] = re.findall(r"<figcaption>(\w+): ([\w-]+) accuracy", chart)
        measure = (target, metric.replace("-", "_"))
        told_here = [each for each in summary if (each["target"], each["metric"]) == measure]
        expected = {(each["arm"] if each["size"] else "untouched encoder", each["size"]): each for each in told_here}
        found = [match.groupdict() for match in map(TITLE.match, re.findall(r"<title>(.*?)</title>", chart)) if match]
        assert len(found) == len(expected) == 3 + 2 + 1
        for each in found:
            assert each["mean"] == f"{100 * expected[each['arm'], int(each['size'] or 0)]['mean']:.1f}"


def test_a_chart_is_saved_as_a_file_that_needs_nothing_else_and_as_the_table_of_its_marks(
    api: TestClient, services: Services
) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2), sizes=(6, 12, 24)))
    address = f"/experiments/{told.id}/accuracy"
    asked = {"target": "fine", "metric": "linear_probe"}
    assert api.get(f"{address}.svg", params=asked).status_code == 404  # nothing is measured yet
    finish_experiment(services, told)
    links = [
        unescape(link)
        for link in re.findall(r'href="([^"]+accuracy\.(?:svg|csv)\?[^"]+)"', page(api, f"/experiments/{told.id}"))
    ]
    assert len(links) == 2 * 4
    assert {api.get(link).status_code for link in links} == {200}
    file = api.get(f"{address}.svg", params=asked)
    assert file.headers["content-type"] == "image/svg+xml"
    assert file.headers["content-disposition"] == 'attachment; filename="fine-linear_probe-test.svg"'
    root = ElementTree.fromstring(file.text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--arm-1" in file.text
    assert not re.search(r"(?:href|src)=|url\(|@import", file.text)
    rows = list(csv.DictReader(api.get(f"{address}.csv", params=asked).text.splitlines()))
    summary = [
        each
        for each in api.get(f"/v1/experiments/{told.id}/results").json()["summary"]
        if (each["target"], each["metric"]) == ("fine", "linear_probe")
    ]
    assert len(rows) == len(summary) == 7
    assert sorted(float(each["mean_percent"]) for each in rows) == sorted(100 * each["mean"] for each in summary)
    for unknown in ({"target": "nowhere"}, {"metric": "guess"}, {"test_set": "sketch"}):
        assert api.get(f"{address}.svg", params=asked | unknown).status_code == 404
    assert api.get(f"{address}.csv", params={"target": "fine"}).status_code == 422


def test_files_of_another_projects_experiment_are_not_found(api: TestClient, services: Services) -> None:
    told = post_experiment(services, spec(seeds=(0, 1, 2)))
    finish_experiment(services, told)
    other, asked = of_another_project(services), {"target": "fine", "metric": "zero_shot"}
    for suffix in ("svg", "csv"):
        address = f"/experiments/{told.id}/accuracy.{suffix}"
        assert api.get(address, params=asked).status_code == 200
        answer = other.get(address, params=asked)
        assert (answer.status_code, f"no experiment {told.id!r}" in unescape(answer.text)) == (404, True)


def test_experiments_lie_over_each_other_in_one_chart_of_a_measure(api: TestClient, services: Services) -> None:
    lookup = DictLookup()
    first = post_experiment(services, spec(seeds=(0, 1)), lookup=lookup)
    second = post(services, spec(name="second", seeds=(0, 1), sizes=(12, 24)), lookup)
    for told in (first, second):
        finish_experiment(services, told)
    html = section(page(api, f"/compare?id={first.id}&id={second.id}"), "accuracies-title")
    charts = html.split('<figure class="chart">')[1:]
    assert len(charts) == 4
    names = {name for chart in charts for name in re.findall(r"<title>(.*?):", chart)}
    assert names == {"1. retrieved", "1. synthetic", "2. retrieved", "2. synthetic", "untouched encoder"}


def test_more_series_than_can_be_told_apart_are_not_drawn_and_the_page_says_so(
    api: TestClient, services: Services
) -> None:
    lookup = DictLookup()
    told = [post_experiment(services, spec(seeds=(0, 1), sizes=(6,)), lookup=lookup)]
    told += [post(services, spec(name=f"n {n}", seeds=(0, 1), sizes=(6,)), lookup) for n in range(MOST_SERIES // 2)]
    for each in told:
        finish_experiment(services, each)
    html = page(api, "/compare?" + "&".join(f"id={each.id}" for each in told))
    assert '<figure class="chart">' not in html
    assert f"Curves are drawn for up to {MOST_SERIES} arms of all experiments together" in html
