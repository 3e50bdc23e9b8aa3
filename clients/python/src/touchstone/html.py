"""Small pieces of HTML for notebooks. Everything that is shown is escaped."""

from collections.abc import Iterable, Sequence
from html import escape


def html_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, bold: bool = False) -> str:
    caption = f"<b>{escape(title)}</b>" if bold else escape(title)
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    style = 'style="caption-side: top; text-align: left; color: inherit"'
    return f"<table><caption {style}>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_list(items: Iterable[str]) -> str:
    """Nothing where there are none."""
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{listed}</ul>" if listed else ""
