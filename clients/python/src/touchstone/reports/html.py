"""A report as one HTML file that asks for nothing else: styles and figures are inside, light and dark."""

from collections.abc import Iterable
from html import escape

from touchstone.reports.blocks import Block, Bullets, Heading, Listing, Paragraph, Picture, Row, Table

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser refuses every request that the file could make."""

STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #f4f4f4; }
@media (prefers-color-scheme: dark) {
  :root { --line: #4a4a4a; --soft: #262626; }
  /* Matplotlib draws on white in dark colours: lightness is turned round, hues stay. */
  figure svg { filter: invert(1) hue-rotate(180deg); }
}
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .3rem 0; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
.number { text-align: right; }
figure { margin: 1rem 0; }
figure svg { max-width: 100%; height: auto; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
"""


def to_html(title: str, blocks: Iterable[Block]) -> str:
    body = "\n".join(_element(block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _element(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Paragraph(text, strong):
            return f"<p><strong>{escape(text)}</strong></p>" if strong else f"<p>{escape(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Listing(text, _):
            return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
        case Table():
            return _table(block)
        case Picture(caption, svg, _):
            return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(table: Table) -> str:
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    head = _row(table.headings, table.texts, tag='th scope="col"')
    body = "".join(
        _row(row, table.texts, best={column for line, column in table.best if line == number})
        for number, row in enumerate(table.rows)
    )
    note = f"<p><small>{escape(table.note)}</small></p>" if table.note else ""
    return (
        f'<div class="wide" tabindex="0"><table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table></div>{note}'
    )


def _row(cells: Row, texts: int, *, tag: str = "td", best: Iterable[int] = ()) -> str:
    name = tag.split()[0]
    shown = []
    for column, cell in enumerate(cells):
        content = f"<strong>{escape(cell)}</strong>" if column in best else escape(cell)
        number = ' class="number"' if column >= texts else ""
        shown.append(f"<{tag}{number}>{content}</{name}>")
    return f"<tr>{''.join(shown)}</tr>"
