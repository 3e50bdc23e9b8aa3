"""What the client shows while an experiment runs, and of its results."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console
from support.specs import spec
from touchstone.progress import progress_by_kind, progress_line, progress_table, seconds_left, showing_progress
from touchstone.tables import print_counts, print_results, print_verdict
from touchstone_contracts.curation import CurationCounts
from touchstone_contracts.identity import sha256
from touchstone_contracts.views import (
    ArmCounts,
    ComparisonResult,
    Exhausted,
    ExperimentDetail,
    Results,
    StepCounts,
    StepView,
    SummaryRow,
    UpstreamProgress,
    Verdict,
)

STEPS = (
    StepView(id=sha256(b"1"), kind="adapt_encoder", role="fine/a/adapt", state="waiting"),
    StepView(id=sha256(b"2"), kind="ingest_images", role="world/0", state="succeeded", reused=True, seconds=99),
    StepView(id=sha256(b"3"), kind="generate_images", role="fine/b[0:4]", state="succeeded", seconds=10),
    StepView(id=sha256(b"4"), kind="generate_images", role="fine/b[4:8]", state="leased", done=3, total=4),
    StepView(id=sha256(b"5"), kind="generate_images", role="fine/b[8:9]", state="failed"),
)


def test_an_upstream_that_is_still_ingested_is_told_first() -> None:
    counts = StepCounts(total=9, succeeded=3, waiting=6)
    waiting = experiment().model_copy(
        update={"waits_for": UpstreamProgress(name="world", phase="running", steps=counts)}
    )
    assert progress_line(waiting).startswith("running: upstream world 3/9, ")
    assert "upstream world" in text_of(progress_table(waiting, 5))
    assert "upstream" not in progress_line(experiment())


def experiment(steps: tuple[StepView, ...] = STEPS) -> ExperimentDetail:
    return ExperimentDetail(
        id="exp_1",
        identity=sha256(b"x"),
        name="quick [look]",
        phase="running",
        spec=spec(),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        steps=StepCounts(total=5, succeeded=2, reused=1),
        step_list=steps,
    )


def text_of(render: object, *, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=terminal)
    console.print(render)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_running_steps_count_by_their_finished_share_in_the_order_of_work() -> None:
    ingest, generate, adapt = progress_by_kind(STEPS)
    assert (ingest.kind, ingest.reused, ingest.done) == ("ingest_images", 1, 1.0)
    assert (generate.done, generate.total, generate.running) == (1.75, 3, ("fine/b[4:8]",))
    assert generate.seconds_left == pytest.approx(12.5)
    assert adapt.finished == 0


def test_kinds_that_an_older_client_does_not_know_are_shown_last_and_counted() -> None:
    murals = [
        StepView(id=sha256(b"6"), kind="paint_mural", role="fine/mural", state="succeeded", seconds=100),
        StepView(id=sha256(b"7"), kind="paint_mural", role="fine/mural", state="waiting"),
    ]
    kinds = progress_by_kind((*murals, *STEPS[1:3]))
    assert [kind.kind for kind in kinds] == ["ingest_images", "generate_images", "paint_mural"]
    assert seconds_left(kinds) == pytest.approx(100)
    assert "paint 1/2" in progress_line(experiment((*murals, *STEPS)))


def test_the_time_left_is_unknown_until_every_kind_was_measured() -> None:
    assert seconds_left(progress_by_kind(STEPS)) is None
    assert seconds_left(progress_by_kind(STEPS[1:])) == pytest.approx(12.5)
    assert seconds_left([]) == 0


def test_reused_steps_say_nothing_about_speed() -> None:
    assert progress_by_kind(STEPS)[0].mean_seconds is None


def test_a_log_gets_plain_lines_and_not_the_same_one_twice() -> None:
    output = io.StringIO()
    with showing_progress(Console(file=output, width=120), line_every=0) as watcher:
        watcher(experiment())
        watcher(experiment())
        watcher(experiment(STEPS[1:]))
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert "\x1b" not in output.getvalue()
    assert lines[0].endswith("running: generate 1/3, adapt 0/1, 2/5 steps, 1 reused")
    assert lines[1].endswith("about 0:12 left")


def test_a_terminal_gets_a_table_by_kind() -> None:
    shown = text_of(progress_table(experiment(), elapsed=65))
    assert "generate images" in shown
    assert "1/3" in shown
    assert "1:05" in shown
    assert "1:05" in progress_line(experiment()) or "running" in progress_line(experiment())


def test_the_results_table_gives_mean_and_std_and_says_what_cannot_be_had() -> None:
    def row(arm: str, size: int, metric: str, mean: float, std: float | None) -> SummaryRow:
        return SummaryRow(target="fine", arm=arm, size=size, metric=metric, mean=mean, std=std, seeds=3)

    results = Results(
        experiment="exp_1",
        digest=sha256(b"r"),
        complete=True,
        rows=(),
        summary=(
            row("none", 0, "zero_shot", 0.41, None),
            row("retrieved", 60, "zero_shot", 0.525, 0.0123),
            row("retrieved", 60, "linear_probe", 0.6, 0.01),
        ),
        exhausted=(Exhausted(target="fine", arm="synthetic", size=60, available=12),),
        counts=(
            ArmCounts(
                target="fine",
                arm="retrieved",
                counts=CurationCounts(
                    requested=1000, obtained=900, leaked=1, near_duplicate=2, filtered=630, over_cap=3, kept=264
                ),
            ),
        ),
    )
    console = Console(file=io.StringIO(), width=120)
    print_results(console, results)
    print_counts(console, results)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "52.5 ± 1.2" in shown
    assert "41.0" in shown
    assert "size 60 cannot be had, 12 images were kept" in shown
    assert "264" in shown


def test_the_verdict_is_shown_in_points_with_its_interval() -> None:
    primary = ComparisonResult(
        target=None,
        size=None,
        metric="zero_shot",
        difference=0.052,
        low=0.03,
        high=0.074,
        degrees_of_freedom=4,
        p_value=0.001,
        answer="a_better",
        seeds=3,
        test_images=300,
    )
    verdict = Verdict(
        experiment="exp_1",
        a="retrieved",
        b="synthetic",
        delta=0.01,
        confidence=0.95,
        answer="a_better",
        headline="Retrieved images win [by a lot]",
        primary=primary,
        secondary=(),
        baseline=(),
        warnings=("size 60 was left out",),
        results_digest=sha256(b"r"),
    )
    console = Console(file=io.StringIO(), width=120)
    print_verdict(console, verdict)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "Retrieved images win [by a lot]" in shown
    assert "+5.2 [+3.0, +7.4] points (95 % interval" in shown
    assert "size 60 was left out" in shown
