"""A report as a LaTeX document with booktabs tables. It compiles with pdfLaTeX, LuaLaTeX and XeLaTeX; names in scripts
that pdfLaTeX has no letters for need one of the other two."""

from collections.abc import Iterable, Iterator

from touchstone.reports.blocks import Block, Bullets, Heading, Listing, Paragraph, Picture, Row, Table

PREAMBLE = r"""% Tables and figures can be copied into a paper that has these packages.
\documentclass{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[utf8]{inputenc}
  \usepackage[T1]{fontenc}
\else
  \usepackage{fontspec}
\fi
\usepackage{textcomp}
\usepackage[margin=2.5cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\newsavebox{\reporttable}
"""

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "†": r"\dag{}",
    "¤": r"\textcurrency{}",
    "[": "{[}",  # behind the end of a row this and a star would belong to it
    "*": "{*}",
}
CODE_ESCAPES = ESCAPES | {
    " ": r"\ ",
    "-": "-{}",  # two of them would become a dash
    "'": r"\textquotesingle{}",
    '"': r"\char34{}",
    "`": r"\textasciigrave{}",
}
BREAKS_AFTER = 24
"""Characters of a word in code after which a line may break: digests are longer than lines."""


def to_latex(blocks: Iterable[Block], label: str) -> str:
    """`label` begins the labels of tables and figures, `tab:LABEL-accuracies`."""
    sections = Labels(label)
    body = "\n\n".join("\n".join(_lines(block, sections)) for block in blocks)
    return f"{PREAMBLE}\\begin{{document}}\n\n{body}\n\n\\end{{document}}\n"


class Labels:
    """Of tables and figures: each experiment after the first has its number in them."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._experiments = 0

    def next_experiment(self) -> None:
        self._experiments += 1

    def of(self, kind: str, name: str) -> str:
        number = f"-{self._experiments}" if self._experiments > 1 else ""
        return f"\\label{{{kind}:{self._label}{number}-{name.replace('_', '-')}}}"


def escaped(text: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in " ".join(text.split()))


def _code(line: str) -> str:
    letters = [CODE_ESCAPES.get(character, character) for character in line]
    unbroken = 0
    for position, character in enumerate(line):
        unbroken = 0 if character == " " else unbroken + 1
        if unbroken == BREAKS_AFTER:
            letters[position] += r"\allowbreak{}"
            unbroken = 0
    return "".join(letters)


def _lines(block: Block, labels: Labels) -> Iterator[str]:
    match block:
        case Heading(text, level):
            if level == 1:
                labels.next_experiment()
                yield r"\clearpage"
            yield f"\\{'section' if level == 1 else 'subsection'}*{{{escaped(text)}}}"
        case Paragraph(text, strong):
            yield f"\\textbf{{{escaped(text)}}}" if strong else escaped(text)
        case Bullets(items):
            yield from (r"\begin{itemize}", *(f"\\item {{}}{escaped(item)}" for item in items), r"\end{itemize}")
        case Listing(text, _):
            yield r"{\ttfamily\footnotesize\raggedright\setlength{\parindent}{0pt}"
            yield from (f"\\mbox{{}}{_code(line)}\\par" for line in text.rstrip("\n").split("\n"))
            yield "}"
        case Table():
            yield from _table(block, labels)
        case Picture(caption, _, file):
            yield r"\begin{figure}[htbp]"
            yield r"\centering"
            yield f"\\includegraphics[width=\\linewidth]{{\\detokenize{{{file}}}}}"
            yield f"\\caption{{{escaped(caption)}.}}"
            yield labels.of("fig", "accuracies")
            yield r"\end{figure}"


def _table(table: Table, labels: Labels) -> Iterator[str]:
    """One that is wider than the text is made smaller."""
    columns = "".join("l" if column < table.texts else "r" for column in range(len(table.headings)))
    note = f" {table.note}" if table.note else ""
    yield r"\begin{table}[htbp]"
    yield r"\centering\small"
    yield f"\\caption{{{escaped(f'{table.title}.{note}')}}}"
    yield labels.of("tab", table.name)
    yield r"\begin{lrbox}{\reporttable}"
    yield f"\\begin{{tabular}}{{{columns}}}"
    yield r"\toprule"
    yield _row(table.headings)
    yield r"\midrule"
    for number, row in enumerate(table.rows):
        yield _row(row, {column for line, column in table.best if line == number})
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{lrbox}"
    yield r"\ifdim\wd\reporttable>\linewidth"
    yield r"\resizebox{\linewidth}{!}{\usebox{\reporttable}}\else\usebox{\reporttable}\fi"
    yield r"\end{table}"


def _row(cells: Row, best: Iterable[int] = ()) -> str:
    shown = (f"\\textbf{{{escaped(cell)}}}" if column in best else escaped(cell) for column, cell in enumerate(cells))
    return f"{' & '.join(shown)} \\\\"
