"""Results, counts and verdicts as text tables."""

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.byte_words import byte_words
from touchstone_contracts.catalogue import MAIN_TEST_SET, on_test_set
from touchstone_contracts.curation import stage_words
from touchstone_contracts.power import Power
from touchstone_contracts.registration import Registration
from touchstone_contracts.views import (
    ArmCost,
    ComparisonResult,
    Cost,
    Estimation,
    ExchangeRate,
    ExperimentDetail,
    ExperimentView,
    Results,
    SummaryRow,
    TimeEstimate,
    Verdict,
)

from touchstone.fitting import print_table
from touchstone.phases import FINISHED
from touchstone.progress import NARROW
from touchstone.untouched import sample_sentence, untouched_headings, untouched_rows, untouched_title

WIDE_LIST = ("id", "name", "phase", "steps", "reused", "created")
NARROW_LIST = ("id", "name", "phase", "steps", "created")
PLAIN_WIDTH = 120
"""Columns where the output is no terminal and has no width of its own."""


def console_for_output() -> Console:
    """Colours and live displays on a terminal; plain text, wide enough for our tables, anywhere else."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def print_results(console: Console, results: Results) -> None:
    metrics = [metric for metric in METRICS if any(row.metric == metric for row in results.summary)]
    table = Table(title="Accuracy in %, mean ± std over seeds", title_justify="left")
    for heading in ("target", "arm"):
        table.add_column(heading)
    for heading in ("size", *(METRICS[metric].heading for metric in metrics)):
        table.add_column(heading, justify="right")
    cells: dict[tuple[str, str, int], dict[str, SummaryRow]] = {}
    for row in sorted(results.summary, key=_by_test_set):
        cells.setdefault((on_test_set(row.target, row.test_set), row.arm, row.size), {})[row.metric] = row
    previous = ""
    for (target, arm, size), by_metric in cells.items():
        if previous not in ("", target):
            table.add_section()
        values = (mean_and_std(by_metric.get(metric)) for metric in metrics)
        table.add_row(target, arm, str(size) if size else "-", *values)
        previous = target
    print_table(console, table)
    for gap in results.exhausted:
        console.print(f"{gap.target}/{gap.arm}: size {gap.size} cannot be had, {gap.available} images were kept")
    if not results.complete:
        console.print("The experiment is still running: more rows will come.")


def _by_test_set(row: SummaryRow) -> tuple[str, bool, str]:
    """Each target's main test set first."""
    return row.target, row.test_set != MAIN_TEST_SET, row.test_set


def mean_and_std(row: SummaryRow | None) -> str:
    if row is None:
        return ""
    return f"{100 * row.mean:.1f}" + ("" if row.std is None else f" ± {100 * row.std:.1f}")


def print_counts(console: Console, results: Results) -> None:
    """On a narrow terminal without the stages that dropped nothing anywhere."""
    table = Table(title="Images by curation stage", title_justify="left")
    dropped = [entry.counts.dropped for entry in results.counts]
    stages = [stage for stage in stage_words() if console.width >= NARROW or any(each[stage] for each in dropped)]
    for heading in ("target", "arm"):
        table.add_column(heading)
    for stage in ("requested", "obtained", *stages, "kept"):
        table.add_column(stage.replace("_", " "), justify="right")
    for entry, by_stage in zip(results.counts, dropped, strict=True):
        numbers = (entry.counts.requested, entry.counts.obtained, *(by_stage[each] for each in stages))
        table.add_row(entry.target, entry.arm, *map(str, (*numbers, entry.counts.kept)))
    print_table(console, table)


def print_verdict(console: Console, verdict: Verdict) -> None:
    console.print(f"Verdict: {escape(verdict.headline)}", style="bold", soft_wrap=True)
    primary = verdict.primary
    measured = on_test_set(METRICS[primary.metric].heading, primary.test_set)
    console.print(
        f"{verdict.a} - {verdict.b} in {measured}: {interval(primary)} points "
        f"({100 * verdict.confidence:.0f} % interval, smallest difference that matters "
        f"{100 * verdict.delta:.1f}): {verdict.answer.replace('_', ' ')}",
        soft_wrap=True,
    )
    if verdict.may_stop:
        console.print(escape(verdict.may_stop), soft_wrap=True)
    if verdict.target_sample:
        console.print(sample_sentence(verdict.target_sample), soft_wrap=True)
    if verdict.baseline:
        _print_untouched(console, verdict)
    if verdict.exchange_rates:
        _print_exchange_rates(console, verdict)
    if verdict.costs:
        _print_costs(console, verdict)
    if verdict.would_decide:
        console.print(f"What would decide it: {escape(verdict.would_decide)}", soft_wrap=True)
    for caveat in verdict.caveats:
        console.print(f"Caveat: {escape(caveat)}", soft_wrap=True)
    print_registration(console, verdict.registration)


def print_registration(console: Console, registration: Registration | None) -> None:
    """What was declared before the experiment ran; nothing where that was not kept."""
    for heading, text in registration.lines if registration else ():
        console.print(f"{heading}: {escape(text)}", soft_wrap=True, highlight=False)


def _print_untouched(console: Console, verdict: Verdict) -> None:
    table = Table(title=untouched_title(verdict), title_justify="left")
    for heading in untouched_headings(verdict):
        table.add_column(heading, justify="left" if heading in ("target", "arm") else "right")
    for row in untouched_rows(verdict):
        table.add_row(*row)
    print_table(console, table)


def _print_exchange_rates(console: Console, verdict: Verdict) -> None:
    title = f"Exchange rate: images of equal {METRICS[verdict.primary.metric].heading}"
    table = Table(title=title, title_justify="left")
    table.add_column("target")
    for heading in (verdict.a, verdict.b, "interval"):
        table.add_column(heading, justify="right")
    for rate in verdict.exchange_rates:
        table.add_row(*exchange_row(rate))
    print_table(console, table)


def exchange_row(rate: ExchangeRate) -> tuple[str, str, str, str]:
    """Target, images of a, images of b, and the interval of the latter."""
    low = "below" if rate.low is None else f"{rate.low:,.0f}"
    high = "beyond" if rate.high is None else f"{rate.high:,.0f}"
    return rate.target, f"{rate.images_a:,}", _images_of_b(rate), f"{low} to {high}"


def _images_of_b(rate: ExchangeRate) -> str:
    if rate.images_b is not None:
        return f"{rate.images_b:,.0f}"
    return f"more than {rate.more_than:,.0f}" if rate.more_than is not None else f"at most {rate.at_most:,.0f}"


def _print_costs(console: Console, verdict: Verdict) -> None:
    table = Table(title="Cost of one model, and of a point above the untouched encoder", title_justify="left")
    table.add_column("arm")
    for heading in ("images", "adapting", "gain", "per point"):
        table.add_column(heading, justify="right")
    for entry in verdict.costs:
        gain = "" if entry.gain is None else f"{100 * entry.gain:+.1f}"
        costs = (cost_words(entry.sourcing), cost_words(entry.adapting), gain, per_point_words(entry))
        table.add_row(entry.arm, *costs)
    print_table(console, table)
    prices = (("CPU core", verdict.prices.cpu_hour), ("GPU", verdict.prices.gpu_hour))
    known = [f"¤ {price:g} an hour of a {what}" for what, price in prices if price is not None]
    if known:
        console.print(f"¤ is the currency of the prices, whichever that is: {', '.join(known)}", highlight=False)


def per_point_words(entry: ArmCost) -> str:
    """What a point of gain cost; where the mean gained nothing there is no such cost, whatever the interval allows."""
    if entry.per_point is not None:
        return cost_words(entry.per_point)
    return "" if entry.gain is None else "no gain measured"


def cost_words(cost: Cost) -> str:
    """Seconds, and money where the prices are known."""
    parts = [f"{_amount(cost.cpu_seconds)} CPU s"]
    if cost.gpu_seconds:
        parts.append(f"{_amount(cost.gpu_seconds)} GPU s")
    if cost.money is not None:
        parts.append(f"¤ {_amount(cost.money)}")
    return ", ".join(parts)


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def interval(result: ComparisonResult) -> str:
    """In points (accuracy x 100)."""
    return f"{100 * result.difference:+.1f} [{100 * result.low:+.1f}, {100 * result.high:+.1f}]"


def print_estimation(console: Console, estimation: Estimation) -> None:
    steps, reused = sum(estimation.steps_by_kind.values()), sum(estimation.reused_by_kind.values())
    console.print(f"{steps} steps, {reused} of them done already; to do:")
    for name, count in estimation.work.model_dump().items():
        console.print(f"  {name.replace('_', ' ')}: {count:,.0f}", highlight=False)
    table = Table(title="GPU hours on one GPU, estimated", title_justify="left")
    parts = ("generate", "embed", "adapt", "evaluate", "total")
    table.add_column("gpu")
    for part in parts:
        table.add_column(part, justify="right")
    for hours in estimation.gpu_hours:
        table.add_row(hours.gpu, *(f"{getattr(hours, part):,.1f}" for part in parts))
    print_table(console, table)
    for assumption in estimation.assumptions:
        console.print(f"Note: {escape(assumption)}", soft_wrap=True)
    if estimation.time is not None:
        _print_time(console, estimation.time)
    if estimation.power is not None:
        _print_power(console, estimation.power)


def _print_time(console: Console, time: TimeEstimate) -> None:
    console.print(escape(time.summary), style="bold", soft_wrap=True, highlight=False)
    if time.assumed:
        kinds = ", ".join(kind.replace("_", " ") for kind in time.assumed)
        console.print(f"Kinds of steps that have not run here: {escape(kinds)}", soft_wrap=True, highlight=False)


def _print_power(console: Console, power: Power) -> None:
    console.print(escape(power.summary), style="bold", soft_wrap=True, highlight=False)
    if power.warning:
        console.print(f"Warning: {escape(power.warning)}", soft_wrap=True, highlight=False)
    console.print(escape(power.basis), soft_wrap=True, highlight=False)
    for entry in power.expected:
        parts = (("seeds", entry.seed_sd), ("images", entry.image_sd), ("interaction", entry.interaction_sd))
        figures = ", ".join(f"{name} {100 * value:.1f}" for name, value in parts)
        console.print(f"  {entry.target}: standard deviations in points: {figures}", highlight=False)


def print_experiments(console: Console, experiments: list[ExperimentView]) -> None:
    """With less on a narrow terminal, so that names can be read."""
    narrow = console.width < NARROW
    table = Table(box=SIMPLE_HEAD if narrow else HEAVY_HEAD, pad_edge=not narrow)
    for heading in NARROW_LIST if narrow else WIDE_LIST:
        table.add_column(heading, no_wrap=heading != "name")
    for each in experiments:
        done = f"{each.steps.succeeded}/{each.steps.total}"
        reused = () if narrow else (str(each.steps.reused),)
        created = each.created_at.strftime("%Y-%m-%d" if narrow else "%Y-%m-%d %H:%M")
        table.add_row(each.id, escape(each.name), each.phase, done, *reused, created)
    print_table(console, table)


def print_experiment(console: Console, experiment: ExperimentView) -> None:
    console.print(f"{experiment.id}  {escape(experiment.name)}: {experiment.phase}", style="bold", highlight=False)
    if (spec := experiment.spec) is not None:
        console.print(f"targets {', '.join(spec.targets)}; arms {', '.join(arm.name for arm in spec.arms)}")
        console.print(f"sizes {', '.join(map(str, spec.sizes))}; seeds {', '.join(map(str, spec.seeds))}")
    counts = experiment.steps
    console.print(f"steps {counts.succeeded} of {counts.total} done, {counts.failed} failed, {counts.reused} reused")
    if experiment.phase not in FINISHED:
        console.print(f"running {counts.leased}, waiting {counts.waiting}")
    if isinstance(experiment, ExperimentDetail) and experiment.stored.total:
        held = experiment.stored
        console.print(f"holds {byte_words(held.total)}, {byte_words(held.own)} of it alone", highlight=False)
    for takedown in experiment.takedowns:
        console.print(escape(takedown.words), style="yellow", soft_wrap=True)
    for problem in experiment.problems:
        console.print(f"problem {problem.code}: {escape(problem.detail)}", style="red", soft_wrap=True)
