"""The checks for a GPU can fail: their comparisons, their clock, their record, and the list of wheels they need."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from gpu import wheels
from gpu.findings import CPU, Figure, Finding, Setting, close, close_pixels, relative_error, same_bytes
from gpu.peaks import PEAKS, peak_tflops
from gpu.record import Record, write
from gpu.report import END, START, write_report
from gpu.runner import Check, line, run, run_all
from gpu.timing import operations, swept

REFERENCE = np.linspace(-1, 1, 100)


@pytest.mark.parametrize("off", [1e-3, -1e-3])
def test_a_result_beyond_the_tolerance_fails(off: float) -> None:
    assert close("x", REFERENCE, REFERENCE, 1e-4).passed
    assert close("x", REFERENCE * (1 + off), REFERENCE, 2e-3).passed
    found = close("x", torch.from_numpy(REFERENCE * (1 + off)), torch.from_numpy(REFERENCE), 1e-4)
    assert found.passed is False
    assert found.figures == {"error": pytest.approx(1e-3), "tolerance": 1e-4}


@pytest.mark.parametrize(
    "result", [np.full(100, np.nan), np.full(100, np.inf), REFERENCE[:50], REFERENCE[None], np.zeros(0)]
)
def test_what_is_not_finite_or_of_another_shape_fails_at_any_tolerance(result: np.ndarray) -> None:
    assert relative_error(result, REFERENCE) == math.inf
    assert close("x", result, REFERENCE, 1e9).passed is False


def test_a_reference_of_zeros_is_met_by_zeros_alone() -> None:
    assert relative_error(np.zeros(3), np.zeros(3)) == 0
    assert relative_error(np.full(3, 1e-30), np.zeros(3)) == math.inf


def test_one_wrong_bit_is_another_digest() -> None:
    right = REFERENCE.astype(np.float32)
    wrong = right.copy()
    wrong.view(np.uint32)[17] ^= 1
    assert same_bytes("x", [right, right.copy()]).passed
    assert same_bytes("x", [right, wrong]).passed is False
    assert same_bytes("x", [right, right.astype(np.float64)]).passed is False
    assert same_bytes("x", [right, right.reshape(10, 10)]).passed is False
    assert same_bytes("x", [b"weights", b"weightt"]).passed is False


def test_one_result_alone_is_no_comparison() -> None:
    assert same_bytes("x", [REFERENCE]).passed is False


def test_pixels_may_differ_by_rounding_and_not_by_more() -> None:
    image = np.full((2, 8, 8, 3), 100, np.uint8)
    rounded = image.copy()
    rounded[0, 0, 0, 0] = 101
    assert close_pixels("x", rounded, image, 0.05).passed
    assert close_pixels("x", image + 1, image, 0.05).passed is False
    assert close_pixels("x", image[:1], image, 255.0).passed is False


def findings(*found: Finding) -> Callable[[Setting], Iterator[Finding]]:
    return lambda setting: iter(found)


def check(name: str, work: Callable[[Setting], Iterator[Finding]], budget_s: int = 60) -> Check:
    return Check(name, work, lambda threads: None, budget_s, 1)


def raising(setting: Setting) -> Iterator[Finding]:
    yield Finding("before", True)
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_check_passes_when_all_it_found_does(tmp_path: Path) -> None:
    setting = Setting(CPU, tmp_path)
    good, bad, measured = Finding("a", True), Finding("b", False), Finding("c", None, {"images_per_s": 12.0})
    passed = {
        "good": run(check("good", findings(good, measured)), setting).passed,
        "bad": run(check("bad", findings(good, bad)), setting).passed,
        "nothing": run(check("nothing", findings()), setting).passed,
        "measured": run(check("measured", findings(measured)), setting).passed,
        "broken": run(check("broken", raising), setting).passed,
        "slow": run(check("slow", findings(good, good)), setting, allowed_s=-1).passed,
    }
    assert [name for name, each in passed.items() if each] == ["good", "measured"]


def test_a_check_that_breaks_is_recorded_and_the_next_one_runs(tmp_path: Path) -> None:
    records = list(
        run_all([check("broken", raising), check("next", findings(Finding("a", True)))], Setting(CPU, tmp_path))
    )
    assert records[0].outcome.startswith("RuntimeError: CUDA error")
    assert [len(record.findings) for record in records] == [1, 1]
    assert records[1].passed


def test_a_check_may_use_what_earlier_ones_left_and_is_not_started_when_nothing_is_left(tmp_path: Path) -> None:
    ticks = iter([0.0, 4.0, 4.0, 11.0])  # the start, then before each check: the second one takes 7 seconds
    checks = [check(name, findings(Finding("a", True)), 3) for name in ("first", "second", "third")]
    records = list(run_all(checks, Setting(CPU, tmp_path), limit_s=11, clock=lambda: next(ticks)))
    assert [record.outcome for record in records] == ["ran", "ran", "not started"]
    assert not records[2].passed


def test_a_sweep_tells_the_best_batch_and_ends_where_memory_does(tmp_path: Path) -> None:
    def work(size: int) -> Callable[[], object]:
        if size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return lambda: torch.ones(size, 64) @ torch.ones(64, 64)

    found = list(swept("tower", work, (1, 2, 4, 8), "fp32", Setting(CPU, tmp_path, small=True)))
    assert [each.what for each in found] == [f"tower, {end}" for end in ("batch 1", "batch 2", "batch 4", "best batch")]
    assert found[2].figures == {"outcome": "does not fit"}
    assert found[3].figures["batch"] in (1, 2)


def test_operations_are_two_per_multiply_and_add() -> None:
    assert operations(lambda: torch.ones(3, 5) @ torch.ones(5, 7)) == 2 * 3 * 5 * 7


def test_nothing_is_claimed_about_a_card_that_is_not_in_the_table() -> None:
    assert peak_tflops("NVIDIA H200", "bf16") == PEAKS["NVIDIA H200"]["half"]
    assert peak_tflops("NVIDIA H200", "fp32") == PEAKS["NVIDIA H200"]["fp32"]
    assert peak_tflops("A card of tomorrow", "bf16") is None
    assert all(rates["half"] > rates["fp32"] for rates in PEAKS.values())


def test_the_record_becomes_tables_in_the_page(tmp_path: Path) -> None:
    results, page = tmp_path / "gpu.json", tmp_path / "gpu.md"
    page.write_text(f"before\n{START}old\n{END}after\n")
    facts: dict[str, Figure] = {
        "card": "NVIDIA H200",
        "memory_gib": 139.8,
        "driver": "580.1",
        "cuda": "13.0",
        "torch": "2.15.0",
    }
    records = [
        Record("parity", 3.0, 60, findings=[close("a", REFERENCE * 1.001, REFERENCE, 2e-3), Finding("b", False)]),
        Record("speed", 3.0, 60, findings=[Finding("tower, batch 64", None, {"images_per_s": 1234.5})]),
    ]
    write(results, facts, records)
    assert json.loads(results.read_text())["passed"] is False
    write_report(results, page)
    written = page.read_text()
    assert "old" not in written
    assert written.startswith("before\n")
    assert written.endswith("after\n")
    assert "one NVIDIA H200 (139.8 GiB), driver 580.1" in written
    assert "| parity | ran | 2 | b | 0.5 | 3.0 |" in written
    assert "| tower, batch 64 | images_per_s 1.23e+03 |" in written
    write_report(results, page)
    assert page.read_text() == written


@pytest.mark.parametrize("card", [None, "none"])
def test_no_tables_are_made_where_no_card_was_measured(tmp_path: Path, card: str | None) -> None:
    page = tmp_path / "gpu.md"
    page.write_text(START + END)
    if card is not None:
        write(tmp_path / "gpu.json", {"card": card}, [])
    with pytest.raises(SystemExit):
        write_report(tmp_path / "gpu.json", page)
    assert page.read_text() == START + END


def test_a_line_says_what_failed_with_its_figures() -> None:
    assert line(Finding("logits", False, {"error": 0.12345})) == "FAILED logits: error 0.123"


def test_the_wheels_are_the_pinned_packages_without_torch_and_its_libraries() -> None:
    pins = wheels.pinned("3.12")
    needed = {"diffusers", "open-clip-torch", "pydantic", "celery", "timm", "transformers", "peft", "minio", "numpy"}
    assert needed <= set(pins)
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "torch", "triton"))]
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins.values())
    assert len(pins) > 50


def test_the_wheels_fit_the_python_they_are_for() -> None:
    old, new = (wheels.pinned(python)["numpy"].partition(" ")[0] for python in ("3.11", "3.13"))
    assert old != new


def test_a_missing_package_is_said_in_one_sentence() -> None:
    with pytest.raises(SystemExit, match=r"nor this machine have no-such-package: .*make gpu-wheels"):
        wheels.require(["torch", "no-such-package"])


def test_an_empty_folder_of_wheels_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="there are no wheels"):
        wheels.unpack(tmp_path, tmp_path / "site")
