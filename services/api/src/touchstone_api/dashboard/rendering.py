"""Templates and how numbers look on pages. Everything is escaped; an undefined name is an error, not a blank."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from touchstone_contracts.account import in_reasons
from touchstone_contracts.adaptation import METRICS
from touchstone_contracts.byte_words import byte_words
from touchstone_contracts.curation import stage_words
from touchstone_contracts.problems import Problem
from touchstone_contracts.views import Cost
from touchstone_verdict.words import measure_words, points

from touchstone_api.dashboard.accuracy_chart import AccuracyChart
from touchstone_api.dashboard.assets import STATIC, assets_folder

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
HERE = Path(__file__).parent
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
DOCS_POLICY = PAGE_POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""The style sheet of Swagger UI holds its pictures."""


def environment() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.filters |= {
        "percent": percent,
        "signed": lambda value: points(value, signed=True),
        "points": points,
        "p_value": p_value,
        "count": count,
        "images": images,
        "seconds": seconds,
        "bytes": byte_words,
        "money": money,
        "reasons": reasons,
        "in_reasons": in_reasons,
        "moment": moment,
        "with_code": with_code,
        "metric": lambda name: METRICS[name].words,
        "measure": lambda entry: measure_words(entry.metric, entry.test_set),
    }
    pages.globals |= {"stage_words": stage_words, "assets": assets_folder()}
    return pages


def percent(accuracy: float) -> str:
    """0.6131 -> "61.3"."""
    return f"{accuracy * 100:.1f}"


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count(value: int) -> str:
    """12345 -> "12 345", with a narrow space that does not break."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def images(value: float) -> str:
    """A number of images that was interpolated: no more than three digits mean anything."""
    return count(round(float(f"{value:.3g}")))


def seconds(cost: Cost) -> str:
    """ "1 234 CPU s, 56 GPU s"; without the GPU where none worked."""
    parts = [f"{amount(cost.cpu_seconds)} CPU s"]
    if cost.gpu_seconds:
        parts.append(f"{amount(cost.gpu_seconds)} GPU s")
    return ", ".join(parts)


def money(value: float) -> str:
    """ "¤ 0.12": the sign of any currency, as prices come without one."""
    return f"¤{NO_BREAK_SPACE}{amount(value)}"


def reasons(found: Mapping[str, int]) -> str:
    """ "not found 12, timeout 3"."""
    return ", ".join(f"{reason.replace('_', ' ')} {count(images)}" for reason, images in found.items())


def with_code(text: str) -> Markup:
    """What stands between backticks as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def amount(value: float) -> str:
    return f"{value:.2g}" if value < 10 else count(round(value))


def moment(at: datetime) -> Markup:
    """Coordinated universal time; the script shows the reader's own."""
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(utc.isoformat(), utc.strftime("%Y-%m-%d %H:%M"))


@cache
def _pages() -> Environment:
    return environment()


def html_page(
    template: str, status: int = 200, policy: str = PAGE_POLICY, *, csrf: str | None = None, **facts: Any
) -> HTMLResponse:
    """`csrf`: the token of the login that the page is shown to; its forms and scripts send it along."""
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    text = _pages().get_template(template).render(csrf=csrf, **facts)
    return HTMLResponse(text, status_code=status, headers=headers)


def svg_file(chart: AccuracyChart) -> str:
    """The chart with its title and its own style sheet, in light colours: opens in a browser, an editor, a document."""
    return (
        _pages()
        .get_template("accuracy_chart.svg")
        .render(chart=chart, drawing_style=Markup((STATIC / "drawing.css").read_text("utf-8")))
    )


def problem_page(problem: Problem, csrf: str | None = None) -> HTMLResponse:
    """The page that is shown instead of one that cannot be shown."""
    facts = {"title": problem.title, "detail": problem.detail, "code": problem.code}
    return html_page("missing.html", problem.status, csrf=csrf, **facts)
