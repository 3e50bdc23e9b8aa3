"""Steps one by one: as a table, and one of them with the end of its log."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from touchstone_contracts.views import StepDetail, StepView

from touchstone.fitting import print_table
from touchstone.problems import UnknownStep, describe

ID_SHOWN = 12
"""Digits of a step's id: enough to tell the steps of one installation apart."""


def the_one_step(owner: str, prefix: str, found: Sequence[StepView]) -> StepView:
    """Of the steps whose ids begin with `prefix`. Raises UnknownStep unless there is exactly one."""
    if not found:
        raise UnknownStep(f"no step of {owner} has an id that begins with {prefix!r}; see: touchstone steps {owner}")
    if len(found) > 1:
        raise UnknownStep(f"several steps of {owner} have an id that begins with {prefix!r}; type more of the id")
    return found[0]


def print_steps(console: Console, steps: Iterable[StepView]) -> None:
    table = Table()
    for heading in ("id", "kind", "role", "state"):
        table.add_column(heading, no_wrap=heading != "role", overflow="fold")
    for heading in ("attempt", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("problem")
    for step in steps:
        seconds = "" if step.seconds is None else f"{step.seconds:.1f}"
        problem = "" if step.problem is None else step.problem.code
        state = "reused" if step.reused and step.state == "succeeded" else step.state
        cells = (step.id[:ID_SHOWN], step.kind, escape(step.role), state, str(step.attempt or ""), seconds, problem)
        table.add_row(*cells)
    print_table(console, table)


def print_log(console: Console, step: StepDetail) -> None:
    """What became of the step: its problem and the end of the worker's log."""
    _print(console, f"{step.id[:ID_SHOWN]} {step.kind} {step.role}", style="bold")
    _print(console, _history(step))
    if step.problem is not None:
        _print(console, f"problem {step.problem.code}: {describe(step.problem)}", style="red")
    _print(console, step.log_tail or "no log: the end of a worker's log is kept only of an attempt that failed")


def _print(console: Console, text: str, style: str | None = None) -> None:
    """Log lines as they are, whatever they look like."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _history(step: StepDetail) -> str:
    parts = [step.state, f"attempt {step.attempt}"]
    if step.worker is not None:
        parts.append(f"worker {step.worker}")
    times = {"started": step.started_at, "finished": step.finished_at}
    return ", ".join(parts + [f"{what} {_moment(at)}" for what, at in times.items() if at is not None])


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
