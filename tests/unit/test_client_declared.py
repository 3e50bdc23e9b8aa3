"""What was declared before an experiment ran, and what it could show, at the terminal and in reports."""

import hashlib
from datetime import UTC, datetime

import httpx
import pytest
from touchstone.client import Client
from touchstone.report import Finding, markdown_report
from touchstone.tables import console_for_output, print_estimation, print_verdict
from touchstone_contracts.exclusions import ExcludedTarget
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.identity import sha256
from touchstone_contracts.power import DeclaredSpread, ExpectedSpread
from touchstone_contracts.registration import EXCLUSION_RULES, Parent, RegisteredFacts, Registration
from touchstone_contracts.views import ComparisonResult, Estimation, Results, TimeEstimate, Verdict, Workload
from touchstone_verdict.power import power_of

COMPARISON = Comparison(a="real", b="made")
FACTS = RegisteredFacts(
    spec=sha256(b"spec"),
    experiment=sha256(b"experiment"),
    registered_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    primary=COMPARISON,
    targets=("flags",),
    sizes=(480, 240),
    seeds=(0, 1, 2),
    exclusions=(ExcludedTarget(target="food", reason="too few images"),),
    exclusion_rules=EXCLUSION_RULES,
    parent=Parent(experiment="exp_0", measured=9, judged=True),
    runs_planned=12,
    runs_known=9,
)
REGISTRATION = Registration.read(FACTS.text())
DECLARED = [
    "Registered: 2026-03-01 12:00:00 UTC",
    "Primary endpoint: real minus made in zero-shot accuracy, mean over targets (flags) and sizes (240, 480), 3 seeds; "
    "smallest difference that matters 1 points; confidence 95 %",
    "Stopping rule: judged once, when every run of both arms is in",
    "Left out: target food (too few images)",
    f"Digest of all this: {hashlib.sha256(FACTS.text().encode()).hexdigest()}",
]


def verdict() -> Verdict:
    primary = ComparisonResult(
        target=None, size=None, metric="zero_shot", difference=0.02, low=0.001, high=0.04, degrees_of_freedom=9.0,
        p_value=0.04, answer="a_better", seeds=3, test_images=700,
    )  # fmt: skip
    return Verdict(
        experiment="exp_1", a="real", b="made", delta=0.01, confidence=0.95, answer="a_better", headline="real wins",
        primary=primary, secondary=(), baseline=(), registration=REGISTRATION, added_later=REGISTRATION.added_later,
        results_digest=sha256(b"rows"),
    )  # fmt: skip


def test_the_terminal_prints_what_was_declared_and_what_was_known(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(console_for_output(), verdict())
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in DECLARED] == DECLARED
    assert [line for line in lines if line.startswith("Caveat: ")] == [
        "Caveat: Added later: cloned from exp_0 when the verdict of that experiment was ready, so it may "
        "have been declared because of it.",
        "Caveat: 9 of the 12 runs of the compared arms were done before this experiment was registered, so their "
        "results may have been seen.",
    ]


def test_a_report_ends_with_what_was_declared() -> None:
    nothing = Results(experiment="", digest=sha256(b""), complete=True, rows=(), summary=(), exhausted=(), counts=())
    lines = markdown_report(Finding("quick look", nothing, verdict())).splitlines()
    assert [line.removeprefix("- ") for line in lines if line.removeprefix("- ") in DECLARED] == DECLARED
    assert lines.index("Declared before it ran:") < lines.index(f"- {DECLARED[0]}")
    assert any(line.startswith("- Added later: cloned from exp_0") for line in lines)


def test_a_verdict_without_registration_prints_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(console_for_output(), verdict().model_copy(update={"registration": None, "added_later": ()}))
    assert "Registered" not in capsys.readouterr().out


def test_an_estimate_tells_what_could_be_shown_and_what_to_raise(capsys: pytest.CaptureFixture[str]) -> None:
    expected = ExpectedSpread(
        target="flags", test_images=241, source="assumed", seed_sd=0.01, image_sd=0.12, interaction_sd=0.25
    )
    power = power_of(COMPARISON.model_copy(update={"delta": 0.04}), 3, [expected])
    estimation = Estimation(
        steps_by_kind={}, reused_by_kind={}, work=Workload(), gpu_hours=(), assumptions=(), power=power
    )
    print_estimation(console_for_output(), estimation)
    out = capsys.readouterr().out
    assert power.summary in out
    assert f"Warning: {power.warning}" in out
    assert power.basis in out
    assert "flags: standard deviations in points: seeds 1.0, images 12.0, interaction 25.0" in out


def test_an_estimate_tells_how_long_it_takes_and_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    time = TimeEstimate(
        minutes=12.0, queues=(), measured=("adapt_encoder",), assumed=("ingest_images",), summary="About 12 minutes."
    )
    estimation = Estimation(
        steps_by_kind={}, reused_by_kind={}, work=Workload(), gpu_hours=(), assumptions=(), time=time
    )
    print_estimation(console_for_output(), estimation)
    out = capsys.readouterr().out
    assert "About 12 minutes." in out
    assert "Kinds of steps that have not run here: ingest images" in out


def test_a_declared_spread_travels_in_the_query() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        body = Estimation(steps_by_kind={}, reused_by_kind={}, work=Workload(), gpu_hours=(), assumptions=())
        return httpx.Response(200, content=body.model_dump_json())

    with Client("http://touchstone", transport=httpx.MockTransport(answer)) as client:
        assert client.estimate({"name": "quick"}).power is None
        client.estimate({"name": "quick"}, DeclaredSpread(seed_sd=0.02))
    assert [dict(url.params) for url in asked] == [{}, {"seed_sd": "0.02"}]


def test_the_registration_is_fetched_byte_by_byte() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/experiments/exp_1/registration"
        return httpx.Response(200, content=FACTS.text())

    with Client("http://touchstone", transport=httpx.MockTransport(answer)) as client:
        assert sha256(client.registration("exp_1").encode()) == REGISTRATION.digest
