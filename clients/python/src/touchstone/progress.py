"""Progress of a running experiment: what to show (pure), and showing it on a terminal, in a notebook or in a log."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from touchstone_contracts.steps import CATALOGUE
from touchstone_contracts.views import ExperimentDetail, StepView, UpstreamProgress

from touchstone.phases import Watcher, ignore

NARROW = 100
"""Columns of a terminal below which tables show less, so that what they show can be read."""
NARROW_BAR, WIDE_BAR = 12, 24


@dataclass(frozen=True)
class KindProgress:
    """All steps of one kind. `done` counts running steps by their finished share."""

    kind: str
    total: int
    done: float
    reused: int
    running: tuple[str, ...]
    """Roles of the steps at work."""
    mean_seconds: float | None
    """Of the steps this experiment computed itself; None before the first."""

    @property
    def finished(self) -> int:
        return int(self.done + 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """One step after the other; None while nothing of this kind has been measured."""
        if self.done >= self.total:
            return 0.0
        return None if self.mean_seconds is None else self.mean_seconds * (self.total - self.done)


def progress_by_kind(steps: Sequence[StepView]) -> list[KindProgress]:
    """In the order in which work flows; kinds of a release that this client does not know come last."""
    present = dict.fromkeys(step.kind for step in steps)
    kinds = [*(kind for kind in CATALOGUE if kind in present), *(kind for kind in present if kind not in CATALOGUE)]
    return [_of_kind(kind, [step for step in steps if step.kind == kind]) for kind in kinds]


def _of_kind(kind: str, steps: list[StepView]) -> KindProgress:
    computed = [step.seconds for step in steps if step.state == "succeeded" and not step.reused and step.seconds]
    return KindProgress(
        kind=kind,
        total=len(steps),
        done=sum(_share_done(step) for step in steps),
        reused=sum(step.reused for step in steps),
        running=tuple(step.role for step in steps if step.state == "leased"),
        mean_seconds=sum(computed) / len(computed) if computed else None,
    )


def _share_done(step: StepView) -> float:
    if step.state == "succeeded":
        return 1.0
    if step.state == "leased" and step.total:
        return min(step.done / step.total, 0.99)
    return 0.0


def seconds_left(kinds: Sequence[KindProgress]) -> float | None:
    """Queues work side by side, each one step at a time, so the busiest decides; None while a kind is unmeasured."""
    left: dict[str, float] = {}
    for progress in kinds:
        seconds = progress.seconds_left
        if seconds is None:
            return None
        known = CATALOGUE.get(progress.kind)
        queue = known.queue if known else progress.kind
        left[queue] = left.get(queue, 0.0) + seconds
    return max(left.values(), default=0.0)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@contextmanager
def showing_progress_here(shown: bool = True) -> Iterator[Watcher]:
    """A bar in a notebook, a live table on a terminal, nothing anywhere else."""
    console = Console()
    if shown and in_notebook():
        with showing_bar() as watcher:
            yield watcher
    elif shown and console.is_terminal:
        with showing_progress(console) as watcher:
            yield watcher
    else:
        yield ignore


def in_notebook() -> bool:
    """Whether this Python is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


@contextmanager
def showing_bar() -> Iterator[Watcher]:
    """A bar of steps, where tqdm is installed (`pip install 'touchstone-lab[notebook]'`); nothing otherwise."""
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        yield ignore
        return
    with tqdm(unit="step", leave=True) as bar:

        def watch(detail: ExperimentDetail) -> None:
            bar.total = detail.steps.total
            bar.n = detail.steps.succeeded
            bar.set_description(f"{detail.name}: {detail.phase}")

        yield watch


@contextmanager
def showing_progress(console: Console, *, line_every: float = 5.0) -> Iterator[Watcher]:
    """A watcher for `Client.wait`: a live table on a terminal, else a plain line every few seconds."""
    started = time.monotonic()
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            narrow = console.width < NARROW
            yield lambda detail: live.update(progress_table(detail, time.monotonic() - started, narrow=narrow))
    else:
        yield _LineWriter(console, line_every, started)


@dataclass
class _LineWriter:
    console: Console
    every: float
    started: float
    written: float = -1e9
    line: str = ""

    def __call__(self, detail: ExperimentDetail) -> None:
        now = time.monotonic()
        line = progress_line(detail)
        ended = detail.finished_at is not None
        if line != self.line and (ended or now - self.written >= self.every):
            self.written, self.line = now, line
            self.console.print(f"{clock(now - self.started):>6}  {line}", soft_wrap=True, highlight=False)


def progress_line(detail: ExperimentDetail) -> str:
    kinds = progress_by_kind(detail.step_list)
    upstream = [_upstream_words(detail.waits_for)] if detail.waits_for else []
    parts = [f"{each.kind.split('_')[0]} {each.finished}/{each.total}" for each in kinds if each.done < each.total]
    left = seconds_left(kinds)
    parts.append(f"{detail.steps.succeeded}/{detail.steps.total} steps")
    if detail.steps.reused:
        parts.append(f"{detail.steps.reused} reused")
    if detail.finished_at is None and left is not None:
        parts.append(f"about {clock(left)} left")
    outages = [f"waits for a server: {outage.detail}" for outage in detail.outages]
    return f"{detail.phase}: " + ", ".join([*outages, *upstream, *parts])


def _upstream_words(upstream: UpstreamProgress) -> str:
    return f"upstream {upstream.name} {upstream.steps.succeeded}/{upstream.steps.total}"


def progress_table(detail: ExperimentDetail, elapsed: float, *, narrow: bool = False) -> Table:
    """A row per kind of step; `narrow` leaves out what a terminal of 80 columns has no room for."""
    kinds = progress_by_kind(detail.step_list)
    left = seconds_left(kinds)
    ending = "" if detail.finished_at else f", about {clock(left)} left" if left is not None else ""
    waiting = "".join(f"\nwaits for a server: {outage.detail}" for outage in detail.outages)
    caption = f"{clock(elapsed)}{ending}{waiting}"
    title = f"{detail.name} ({detail.id}): {detail.phase}"
    table = Table(title=title, caption=caption, title_justify="left", box=SIMPLE_HEAD if narrow else HEAVY_HEAD)
    numbers = ("done",) if narrow else ("done", "reused", "s each")
    for heading in ("step", "", *numbers):
        table.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=True)
    table.add_column("now", overflow="ellipsis", no_wrap=True)
    bar = NARROW_BAR if narrow else WIDE_BAR
    if detail.waits_for:
        steps = detail.waits_for.steps
        words = f"upstream {detail.waits_for.name}"
        cells = (f"{steps.succeeded}/{steps.total}", *("" for _ in numbers[1:]), detail.waits_for.phase)
        table.add_row(words, ProgressBar(total=steps.total, completed=steps.succeeded, width=bar), *cells)
    for each in kinds:
        extent = (str(each.reused or ""), "" if each.mean_seconds is None else f"{each.mean_seconds:.1f}")
        table.add_row(
            each.kind.replace("_", " "),
            ProgressBar(total=each.total, completed=each.done, width=bar),
            f"{each.finished}/{each.total}",
            *(() if narrow else extent),
            each.running[0] if each.running else "",
        )
    return table
