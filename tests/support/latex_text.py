"""A strict reader of the LaTeX that reports write: it refuses what TeX would stop at."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}$&%#_^~]|[^\\{}$&%#_^~]+", re.DOTALL)
KNOWN = frozenset(
    re.findall(
        r"\\\w+",
        r"""\allowbreak \begin \bfseries \bottomrule \caption \centering \char \clearpage \dag \detokenize
    \documentclass \else \end \fi \footnotesize \ifPDFTeX \ifdim \includegraphics \item \label \linewidth \mbox \midrule
    \newsavebox \par \parindent \pm \raggedright \reporttable \resizebox \section \setlength \small \subsection
    \textasciicircum \textasciigrave \textasciitilde \textbackslash \textbar \textbf \textcurrency \textgreater
    \textless \textquotesingle \times \toprule \ttfamily \usebox \usepackage \wd""",
    )
)
"""Commands that LaTeX and the packages of the preamble define, of those that a report writes."""


class NotLatex(ValueError):
    """TeX would stop here."""


@dataclass(frozen=True)
class Tabular:
    label: str
    columns: str
    rows: tuple[tuple[str, ...], ...]
    """The cells as they are written; the headings first."""


def check_latex(text: str) -> int:
    """How many tokens it has. Raises NotLatex for unbalanced groups, environments and formulas, unknown commands, and
    special characters that stand alone."""
    preamble, begins, _ = text.partition(r"\begin{document}")
    if not begins:
        raise NotLatex("there is no document")
    tokens = [token.group() for token in TOKEN.finditer(text[len(preamble) :])]
    depth, formulas = 0, 0
    for token in tokens:
        depth += (token == "{") - (token == "}")
        formulas += token == "$"
        if depth < 0 or token in ("%", "#", "_", "^", "~"):
            raise NotLatex(f"{token!r} stands alone")
        if re.fullmatch(r"\\[A-Za-z]+", token) and token not in KNOWN:
            raise NotLatex(f"{token} is not defined")
    if depth or formulas % 2:
        raise NotLatex(f"{depth} groups stay open, {formulas} formula signs")
    _check_environments(text[len(preamble) :])
    return len(tokens)


def _check_environments(text: str) -> None:
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([^}]*)\}", text):
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            raise NotLatex(f"{name} ends and had not begun")
    if opened:
        raise NotLatex(f"{opened} do not end")


def tabulars(text: str) -> Iterator[Tabular]:
    """Raises NotLatex where a row has another number of cells than the table has columns."""
    pattern = re.compile(r"\\label\{(tab:[^}]*)\}.*?\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", re.DOTALL)
    for label, columns, body in pattern.findall(text):
        lines = [line for line in body.strip().splitlines() if not line.endswith("rule")]
        rows = tuple(tuple(re.split(r" (?<!\\)& ", line.removesuffix(r" \\"))) for line in lines)
        for row in rows:
            if len(row) != len(columns):
                raise NotLatex(f"{label}: {len(row)} cells in {len(columns)} columns: {row}")
        yield Tabular(label, columns, rows)
