"""The report of an experiment, for a README and as a picture."""

from itertools import product
from pathlib import Path

import pytest
from PIL import Image
from touchstone.figures import draw_accuracies
from touchstone.report import Finding, markdown_report, markdown_reports
from touchstone_contracts.adaptation import Metric
from touchstone_contracts.identity import sha256
from touchstone_contracts.views import BaselineCheck, ComparisonResult, Results, SummaryRow, TargetSample, Verdict


def results(sizes: tuple[int, ...] = (240, 480)) -> Results:
    def row(target: str, arm: str, size: int, mean: float) -> SummaryRow:
        return SummaryRow(
            target=target, arm=arm, size=size, metric="zero_shot", mean=mean, std=0.004 if size else None, seeds=3
        )

    untouched = [row(target, "none", 0, 0.4) for target in ("flags", "broad")]
    trained = [
        row(target, arm, size, 0.5) for target, arm, size in product(("flags", "broad"), ("real", "made"), sizes)
    ]
    return Results(
        experiment="exp_1", digest=sha256(b"rows"), complete=True, rows=(), summary=(*untouched, *trained),
        exhausted=(), counts=(),
    )  # fmt: skip


def comparison(target: str | None, size: int | None = None, metric: Metric = "zero_shot") -> ComparisonResult:
    return ComparisonResult(
        target=target, size=size, metric=metric, difference=0.021, low=0.001, high=0.041, degrees_of_freedom=9.0,
        p_value=0.04, answer="a_better", seeds=3, test_images=700,
    )  # fmt: skip


def verdict() -> Verdict:
    return Verdict(
        experiment="exp_1", a="real", b="made", delta=0.01, confidence=0.95, answer="a_better",
        headline="real beats made", primary=comparison(None), baseline=(), warnings=("few seeds",),
        secondary=(comparison("flags"), comparison("flags", size=240), comparison("broad", metric="linear_probe")),
        results_digest=sha256(b"rows"),
    )  # fmt: skip


def test_every_arm_has_a_row_and_the_untouched_encoder_stands_at_every_size() -> None:
    lines = markdown_report(Finding("quick look", results(), None)).splitlines()
    assert lines[0] == "### quick look"
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| --- | --- | --- | --- |",
        "| flags | none | 40.0 | 40.0 |",
        "| broad | none | 40.0 | 40.0 |",
        *(
            f"| {target} | {arm} | **50.0 ± 0.4** | **50.0 ± 0.4** |"
            for target in ("flags", "broad")
            for arm in ("real", "made")
        ),
    ]


def test_another_test_set_has_rows_of_its_own() -> None:
    here = results()
    there = [row.model_copy(update={"test_set": "sketch", "mean": 0.1}) for row in here.summary]
    both = here.model_copy(update={"summary": (*here.summary, *there)})
    lines = markdown_report(Finding("two domains", both, None)).splitlines()
    assert "| flags | real | **50.0 ± 0.4** | **50.0 ± 0.4** |" in lines
    assert "| flags on sketch | real | **10.0 ± 0.4** | **10.0 ± 0.4** |" in lines
    assert len([line for line in lines if " on sketch | " in line]) == 6


def test_the_verdict_comes_with_every_comparison_its_p_value_and_its_warnings() -> None:
    text = markdown_report(Finding("quick look", results(), verdict()))
    assert "**real beats made**" in text
    assert text.endswith("few seeds\n")
    rows = [line for line in text.splitlines() if "0.1 to" in line]
    assert rows == [
        f"| {target} | {metric} | {size} | +2.1 | +0.1 to +4.1 | 0.0400 |  |"
        for target, metric, size in (
            ("all targets", "zero-shot accuracy", "all"),
            ("flags", "zero-shot accuracy", "all"),
            ("flags", "zero-shot accuracy", "240"),
            ("broad", "linear-probe accuracy", "all"),
        )
    ]


def test_the_verdict_comes_with_every_arm_against_the_untouched_encoder_and_with_targets_like_these() -> None:
    def check(arm: str, low: float, target: str | None = None, size: int | None = None, **shown: bool) -> BaselineCheck:
        return BaselineCheck(
            arm=arm, metric="zero_shot", target=target, size=size, difference=low + 0.02, low=low, high=low + 0.04,
            below=shown.get("below", False), above=shown.get("above", False),
        )  # fmt: skip

    sample = TargetSample(
        targets=3, mean=0.02, low=-0.01, high=0.05, new_low=-0.06, new_high=0.1, between=0.02, answer="undecided"
    )
    found = verdict().model_copy(
        update={
            "baseline": (check("real", 0.01, above=True), check("made", -0.05)),
            "baseline_by_size": (
                check("real", 0.01, "flags", 240, above=True),
                check("real", 0.02, "flags", 480),
                check("made", -0.06, "flags", 240, below=True),
            ),
            "target_sample": sample,
        }
    )
    lines = markdown_report(Finding("quick look", results(), found)).splitlines()
    assert lines[-8:] == [
        "Against the untouched encoder, points of zero-shot accuracy (95 % interval; \\*: differs, by size after "
        "Holm):",
        "",
        "| target | arm | 240 | 480 | mean |",
        "| --- | --- | --- | --- | --- |",
        "| all | real |  |  | +3.0 (+1.0 to +5.0) \\* |",
        "| all | made |  |  | -3.0 (-5.0 to -1.0) |",
        "| flags | real | +3.0 (+1.0 to +5.0) \\* | +4.0 (+2.0 to +6.0) |  |",
        "| flags | made | -4.0 (-6.0 to -2.0) \\* |  |  |",
    ]
    assert "Over targets like these 3: mean +2.0 points (-1.0 to +5.0); at a new target -6.0 to +10.0." in lines


def test_variants_stand_in_one_table_before_their_reports() -> None:
    undecided = verdict().model_copy(update={"answer": "undecided", "a": "made", "b": "real"})
    variants = [Finding("plain", results(), verdict()), Finding("strict", results(), undecided)]
    text = markdown_reports(variants)
    assert text.splitlines()[:6] == [
        "Primary endpoints:",
        "",
        "| experiment | compared | points | interval | answer |",
        "| --- | --- | --- | --- | --- |",
        "| plain | real - made | +2.1 | +0.1 to +4.1 | real is better |",
        "| strict | made - real | +2.1 | +0.1 to +4.1 | undecided |",
    ]
    assert text.count("### ") == 2
    assert markdown_reports(variants[:1]) == markdown_report(variants[0])


@pytest.mark.parametrize("sizes", [(240,), (240, 480)])
def test_the_figure_has_a_panel_for_each_target(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    draw_accuracies(results(sizes), "zero_shot", tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.width > 2 * picture.height
        assert len(set(picture.convert("RGB").get_flattened_data())) > 10
