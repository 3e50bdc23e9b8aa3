"""What the command line prints of classes, curation, links and costs."""

from typing import Any

import pytest
from touchstone.class_tables import print_classes, print_curation, print_links
from touchstone.tables import console_for_output, print_verdict
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.curation import CurationCounts, CurationReport, MemorisationReport, ScoreHistogram
from touchstone_contracts.identity import sha256
from touchstone_contracts.views import (
    ArmCost,
    ArmCuration,
    ClassRow,
    ClassTable,
    ComparisonResult,
    Confusion,
    Cost,
    ExchangeRate,
    LinkReport,
    LinksOfClass,
    Prices,
    Verdict,
)

LABELS = tuple(ClassLabel(id=number, display_name=name) for number, name in enumerate(("cat [tabby]", "dog")))
COUNTS = CurationCounts(requested=30, obtained=20, leaked=0, near_duplicate=0, filtered=8, over_cap=0, kept=12)
REPORT = CurationReport(
    obtained_by_class=(10, 10),
    dropped_by_class={"filtered": (2, 6)},
    kept_by_class=(8, 4),
    class_coverage=1.0,
    scores=ScoreHistogram(edges=(0.1, 0.2, 0.3), obtained=(10, 10), kept=(0, 12)),
    memorisation=MemorisationReport(images=20, cosine_quantiles={"0.5": 0.6, "1": 0.98}, threshold=0.95, share=0.05),
)


def lines(capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The cells of each printed line, without the frames of tables."""
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    whole = (line.replace("┃", "│") for line in printed.splitlines())
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] if "│" in line else [line.strip()] for line in whole]
    return [row for row in rows if any(any(character.isalnum() for character in cell) for cell in row)]


def test_classes_come_with_their_change_and_what_is_taken_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    found = ClassTable(
        experiment="exp_1",
        target="pets",
        arm="made",
        size=60,
        metric="zero_shot",
        test_set="sketches",
        seeds=3,
        classes=(
            ClassRow(class_id=0, display_name="cat [tabby]", test_images=50, accuracy=0.4, untouched=0.5, change=-0.1),
            ClassRow(class_id=1, display_name="dog", test_images=0, accuracy=None, untouched=None, change=None),
        ),
        confusions=(Confusion(class_id=0, predicted_id=1, images=29.5),),
    )
    print_classes(console_for_output(), found)
    assert lines(capsys) == [
        ["pets, made, 60 images: ZS on sketches in %, mean over 3 seeds, worst first"],
        ["class", "test images", "untouched", "accuracy", "change"],
        ["cat [tabby]", "50", "50.0", "40.0", "-10.0"],
        ["dog", "0", "", "", ""],
        ["cat [tabby] taken for dog: 29.5 images"],
    ]


def test_curation_is_told_before_and_after_with_its_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    print_curation(console_for_output(), ArmCuration(target="pets", arm="made", counts=COUNTS, report=REPORT), LABELS)
    assert lines(capsys) == [
        ["pets, made: 30 images requested, 20 obtained, 12 kept; 0 classes without images"],
        ["class", "obtained", "filtered", "kept"],
        ["dog", "10", "6", "4"],
        ["cat [tabby]", "10", "2", "8"],
        ["CLIP score: mean about 0.200 before, 0.250 after"],
        ["Cosine of synthetic images to the nearest upstream image, by quantile: 0.5: 0.600, 1: 0.980"],
        ["5.0 % of them reach 0.95"],
    ]


def test_a_pool_without_a_report_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_curation(console_for_output(), ArmCuration(target="pets", arm="made", counts=COUNTS), LABELS)
    assert lines(capsys)[1:] == [["This pool was curated before there were reports by class."]]


def test_links_end_with_all_classes_together(capsys: pytest.CaptureFixture[str]) -> None:
    def links(label: ClassLabel, obtained: int, **reasons: int) -> LinksOfClass:
        facts: dict[str, Any] = {"class_id": label.id, "display_name": label.display_name, "topped_up": 1}
        return LinksOfClass(requested=5, obtained=obtained, reasons=reasons, **facts)

    classes = (links(LABELS[0], 5, timeout=1), links(LABELS[1], 2, not_found=3, timeout=1))
    print_links(console_for_output(), LinkReport(target="pets", arm="found", classes=classes))
    assert lines(capsys)[1:] == [
        ["class", "requested", "obtained", "from the reserve", "why links gave none"],
        ["dog", "5", "2", "1", "not found 3, timeout 1"],
        ["cat [tabby]", "5", "5", "1", "timeout 1"],
        ["all classes", "10", "7", "2", "not found 3, timeout 2"],
    ]


def verdict(prices: Prices, money: float | None) -> Verdict:
    compared: dict[str, Any] = {"target": None, "size": None, "metric": "zero_shot", "answer": "a_better"}
    numbers = {"difference": 0.05, "low": 0.03, "high": 0.07, "degrees_of_freedom": 4, "p_value": 0.001}
    cost = Cost(cpu_seconds=123_456.7, gpu_seconds=36, money=money)
    return Verdict(
        experiment="exp_1",
        a="made",
        b="found",
        delta=0.01,
        confidence=0.95,
        answer="a_better",
        headline="made wins",
        primary=ComparisonResult(seeds=3, test_images=300, **compared, **numbers),
        secondary=(),
        baseline=(),
        exchange_rates=(
            ExchangeRate(target="pets", images_a=60, images_b=1234.4, low=800),
            ExchangeRate(target="pets", images_a=120, images_b=None, more_than=2000, low=1500),
            ExchangeRate(target="pets", images_a=30, images_b=None, at_most=60, high=90),
        ),
        costs=(
            ArmCost(
                arm="made",
                metric="zero_shot",
                sourcing=cost,
                adapting=cost,
                gain=-0.01,
                per_point=None,
                per_point_at_least=None,
                per_point_at_most=None,
            ),
        ),
        prices=prices,
        results_digest=sha256(b"r"),
    )


def test_the_verdict_tells_exchange_rates_and_where_they_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(console_for_output(), verdict(Prices(), None))
    printed = lines(capsys)
    at = printed.index(["Exchange rate: images of equal ZS"])
    assert printed[at + 1 : at + 5] == [
        ["target", "made", "found", "interval"],
        ["pets", "60", "1,234", "800 to beyond"],
        ["pets", "120", "more than 2,000", "1,500 to beyond"],
        ["pets", "30", "at most 60", "below to 90"],
    ]
    assert printed[-1] == ["made", "123,457 CPU s, 36 GPU s", "123,457 CPU s, 36 GPU s", "-1.0", "no gain measured"]


def test_money_is_told_with_the_prices_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(console_for_output(), verdict(Prices(cpu_hour=0.04, gpu_hour=1.2), 0.092))
    *_, cost, note = lines(capsys)
    assert cost[1] == "123,457 CPU s, 36 GPU s, ¤ 0.092"
    assert note == [
        "¤ is the currency of the prices, whichever that is: ¤ 0.04 an hour of a CPU core, ¤ 1.2 an hour of a GPU"
    ]
