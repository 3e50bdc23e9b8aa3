"""Markdown tables from gpu.json, for docs/gpu.md."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu.record import RESULTS
from gpu.runner import shown

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
START, END = "<!-- figures of a card: python -m gpu report -->\n", "<!-- end of the figures -->\n"


def write_report(results: Path = RESULTS, page: Path = PAGE) -> None:
    """Puts the tables between the two marks of the page. Raises SystemExit where no card was measured."""
    if not results.exists():
        raise SystemExit(f"{results} is not there: run `make gpu-check` on a machine with a CUDA device")
    measured = json.loads(results.read_text())
    if measured["machine"]["card"] == "none":
        raise SystemExit(f"{results} is of a CPU, which measures nothing")
    before, _, rest = page.read_text().partition(START)
    _, _, after = rest.partition(END)
    page.write_text(before + START + "\n".join(tables(measured)) + "\n" + END + after)


def tables(measured: dict[str, Any]) -> Iterator[str]:
    facts = measured["machine"]
    yield f"\nMeasured on one {facts['card']} ({facts['memory_gib']} GiB), driver {facts['driver']},"
    yield f"CUDA {facts['cuda']}, torch {facts['torch']}. All checks passed: {'yes' if measured['passed'] else 'no'}.\n"
    yield "| check | outcome | findings | failed | largest error / tolerance | seconds |"
    yield "|---|---|---|---|---|---|"
    yield from (_summary(check) for check in measured["checks"])
    yield "\n| measured | figures |"
    yield "|---|---|"
    for check in measured["checks"]:
        for finding in check["findings"]:
            if finding["passed"] is None:
                figures = ", ".join(f"{name} {shown(value)}" for name, value in finding["figures"].items())
                yield f"| {finding['what']} | {figures} |"


def _summary(check: dict[str, Any]) -> str:
    findings = check["findings"]
    failed = [finding["what"] for finding in findings if finding["passed"] is False]
    closest = max((share for finding in findings if (share := _used(finding["figures"])) is not None), default=None)
    used = "" if closest is None else shown(closest)
    cells = (check["name"], check["outcome"], len(findings), "; ".join(failed) or "none", used, check["seconds"])
    return f"| {' | '.join(map(str, cells))} |"


def _used(figures: dict[str, Any]) -> float | None:
    """The share of its tolerance that a comparison used."""
    apart = figures.get("levels_apart", figures.get("error"))
    return float(apart / figures["tolerance"]) if apart is not None and "tolerance" in figures else None
