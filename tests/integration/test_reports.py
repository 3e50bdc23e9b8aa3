"""`touchstone report` of a finished experiment: its numbers are the API's, LaTeX compiles, HTML makes no request."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from support.finished_experiments import finished_on_memory
from support.latex_text import check_latex, tabulars
from support.memory_services import OPERATOR_KEY
from support.served_api import serving_api
from touchstone import Client
from touchstone.cli import app
from touchstone.credentials import KEY_VARIABLE
from touchstone_contracts.experiment import ExperimentSpec
from typer.testing import CliRunner, Result

SUFFIXES = {"markdown": "md", "html": "html", "latex": "tex"}
TEX = next((found for name in ("tectonic", "pdflatex", "lualatex") if (found := shutil.which(name))), None)
NO_TEX = "neither tectonic nor a TeX is installed: `make tex` as root on Debian, or install either"


@dataclass(frozen=True)
class Reported:
    server: str
    experiment: str
    folder: Path

    @property
    def client(self) -> Client:
        return Client(self.server, key=OPERATOR_KEY)

    def types(self, *words: str) -> Result:
        return CliRunner().invoke(app, list(words), env={KEY_VARIABLE: OPERATOR_KEY, "TOUCHSTONE_SERVER": self.server})

    def text(self, written_as: str) -> str:
        return (self.folder / f"report.{SUFFIXES[written_as]}").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    services, _, told = finished_on_memory(tmp_path_factory.mktemp("finished"))
    with serving_api(services) as server:
        found = Reported(server, told.id, tmp_path_factory.mktemp("reports"))
        for written_as, suffix in SUFFIXES.items():
            file = found.folder / f"report.{suffix}"
            written = found.types("report", told.id, "--format", written_as, "--to", str(file))
            assert (written.exit_code, written.output) == (0, f"{file}\n"), written.output
        yield found


class Page(HTMLParser):
    """Tags with their attributes, and the text of table cells and of the rest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.said = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.said += data
        if self._in_cell:
            self.rows[-1][-1] += data


def expected_accuracies(reported: Reported) -> dict[tuple[str, str, str], set[str]]:
    """By target, arm and column: the accuracies of both metrics in %, as text."""
    summary = reported.client.results(reported.experiment).summary
    sizes = sorted({row.size for row in summary if row.size})
    found: dict[tuple[str, str, str], set[str]] = {}
    for row in summary:
        for size in [row.size] if row.size else sizes:
            text = f"{100 * row.mean:.1f} ± {100 * (row.std or 0):.1f}"
            found.setdefault((row.target, row.arm, str(size)), set()).add(text)
    return found


def check_accuracies(tables: list[list[list[str]]], expected: dict[tuple[str, str, str], set[str]]) -> int:
    seen = 0
    for headings, *rows in tables:
        for target, arm, *cells in rows:
            for size, cell in zip(headings[2:], cells, strict=True):
                assert cell.removesuffix("†").strip() in expected[target, arm, size]
                seen += 1
    return seen


def test_every_accuracy_of_the_latex_tables_is_that_of_the_api(reported: Reported) -> None:
    def plain(cell: str) -> str:
        bare = re.sub(r"\\textbf\{(.*)\}", r"\1", cell)
        return bare.replace(r"$\pm$", "±").replace(r"\dag{}", "†")

    shown = [table for table in tabulars(reported.text("latex")) if "accuracies" in table.label]
    assert [table.label for table in shown] == [
        "tab:touchstone-accuracies-zero-shot",
        "tab:touchstone-accuracies-linear-probe",
    ]
    tables = [[[plain(cell) for cell in row] for row in table.rows] for table in shown]
    assert check_accuracies(tables, expected_accuracies(reported)) == 2 * 2 * 3 * 2  # metrics, targets, arms, sizes


def test_every_accuracy_of_the_html_tables_is_that_of_the_api(reported: Reported) -> None:
    rows = Page(reported.text("html")).rows
    starts = [number for number, row in enumerate(rows) if row == ["target", "arm", "6", "12"]]
    tables = [rows[start : start + 7] for start in starts]
    assert check_accuracies(tables, expected_accuracies(reported)) == 24


def test_the_best_of_each_target_and_size_is_bold_in_latex(reported: Reported) -> None:
    shown = [table for table in tabulars(reported.text("latex")) if "accuracies" in table.label]
    bold = [row[1] for table in shown for row in table.rows for cell in row if cell.startswith(r"\textbf")]
    assert bold == ["retrieved"] * 8


def test_the_latex_has_nothing_that_tex_would_stop_at(reported: Reported) -> None:
    text = reported.text("latex")
    assert check_latex(text) > 1000
    assert len(list(tabulars(text))) == len(re.findall(r"\\caption", text)) - 1 >= 7  # one is the figure's
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(labels) == len(set(labels)) >= 8
    assert all(f"\\{rule}" in text for rule in ("toprule", "midrule", "bottomrule"))


@pytest.fixture
def tex() -> str:
    """A program that compiles LaTeX."""
    if TEX is None:
        if os.environ.get("CI"):
            pytest.fail(NO_TEX)
        pytest.skip(NO_TEX)
    return TEX


@pytest.mark.parametrize("spread", ["std", "interval"])
def test_the_latex_compiles(reported: Reported, tex: str, tmp_path: Path, spread: str) -> None:
    file = tmp_path / "report.tex"
    assert reported.types("report", "quick", "--format", "latex", "--spread", spread, "--to", str(file)).exit_code == 0
    options = [] if tex.endswith("tectonic") else ["-interaction=nonstopmode", "-halt-on-error"]
    told = subprocess.run([tex, *options, file.name], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stdout[-2000:]
    assert file.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_the_figure_lies_beside_the_latex_as_pdf(reported: Reported) -> None:
    """Under another name than the document's own PDF."""
    assert sorted(file.name for file in reported.folder.glob("*.pdf")) == ["report-accuracies.pdf"]
    assert (reported.folder / "report-accuracies.pdf").read_bytes().startswith(b"%PDF")
    assert r"\includegraphics[width=\linewidth]{\detokenize{report-accuracies.pdf}}" in reported.text("latex")


def test_the_html_opens_without_any_request(reported: Reported) -> None:
    text = reported.text("html")
    page = Page(text)
    assert len(page.tags) > 300
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "base"} == set()
    addresses = [
        value or "" for _, attrs in page.tags for name, value in attrs.items() if name.endswith(("href", "src"))
    ]
    assert [address for address in addresses if not address.startswith("#")] == []
    assert "@import" not in text
    assert re.findall(r"url\((?!#)", text) == []
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_the_html_has_its_figure_as_text_and_is_light_and_dark(reported: Reported) -> None:
    text = reported.text("html")
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("svg") == 1
    assert page.said.count("training images") >= 2  # the axis of each panel
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text


@pytest.mark.parametrize("written_as", SUFFIXES)
def test_every_format_has_the_numbers_that_were_used(reported: Reported, written_as: str) -> None:
    text = re.sub(r"[\\{}]|<[^>]*>", "", reported.text(written_as))
    text = " ".join(text.split())
    said = (
        "learning rates 1e-05", "epochs 30", "batch size 512", "sizes of 6, 12 images", "3 seeds (0, 1, 2)",
        "fraction 0.3", "near duplicate cosine 0.97", "leak cosine 0.95", "library:sd, trained on world",
        "steps 50", "guidance scale 2", "results per query 500", "confidence of 95 %", "delta = 0.01",
        "400 test images", "zero-shot accuracy", "library:clip", "Exchange rate", "CPU s", "Labels of the curated",
    )  # fmt: skip
    assert [words for words in said if words not in text] == []


@pytest.mark.parametrize("written_as", SUFFIXES)
def test_every_format_has_the_software_and_hardware_of_the_workers(reported: Reported, written_as: str) -> None:
    text = " ".join(re.sub(r"[\\{}]|<[^>]*>", "", reported.text(written_as)).split())
    said = ("GPU Some Card, 8 CPUs (Some Processor 7), Linux 6.1", "Python 3.11.7", "no GPU", "numpy==2.2.1",
            "torch==2.9.0+cu128", "pyarrow==21.0.0", "neither was recorded")  # fmt: skip
    assert [words for words in said if words not in text.replace("x8664", "x86_64")] == []


@pytest.mark.parametrize("written_as", SUFFIXES)
def test_every_format_has_p_values_digests_and_references(reported: Reported, written_as: str) -> None:
    text = re.sub(r"\\allowbreak|\\char34|[\\{}]", "", reported.text(written_as).replace("-{}", "-"))
    client = reported.client
    verdict, manifest = client.verdict(reported.experiment), client.manifest(reported.experiment)
    p_values = [entry.p_value for entry in (verdict.primary, *verdict.secondary) if entry.p_value >= 0.0001]
    assert len(p_values) > 10
    assert [value for value in p_values if f"{value:.4f}" not in text] == []
    assert verdict.registration is not None
    assert [
        digest
        for digest in (verdict.results_digest, verdict.registration.digest, manifest.identity)
        if digest not in text
    ] == []
    assert all(
        words in text for words in ("geng2024unmet", "2406.05184", "@software", "encoder-clip", "generator-diffusion")
    )


def test_the_spec_in_the_report_is_the_one_that_was_run(reported: Reported) -> None:
    found = re.search(r"```yaml\n(.*?)```", reported.text("markdown"), re.DOTALL)
    assert found is not None
    spec = ExperimentSpec.model_validate(yaml.safe_load(found[1]))
    assert spec == reported.client.manifest(reported.experiment).spec
    view, created = reported.client.post(spec)
    assert (view.id, created) == (reported.experiment, False)


def test_without_a_file_the_report_is_printed(reported: Reported) -> None:
    printed = reported.types("report", "quick")
    assert printed.exit_code == 0
    assert printed.stdout == reported.text("markdown")


def test_intervals_are_wider_than_standard_deviations_of_three_seeds(reported: Reported) -> None:
    printed = reported.types("report", "quick", "--spread", "interval").stdout
    shown = [re.findall(r"± (\d+\.\d)", text) for text in (printed, reported.text("markdown"))]
    wide, narrow = ([float(value) for value in values[:24]] for values in shown)
    assert len(wide) == len(narrow) == 24
    assert all(interval >= std for interval, std in zip(wide, narrow, strict=True))


def test_several_experiments_have_one_report_with_their_references_once(reported: Reported) -> None:
    printed = reported.types("report", "quick", "quick", "--format", "latex").stdout
    assert check_latex(printed) > 2000
    labels = re.findall(r"\\label\{([^}]*)\}", printed)
    assert len(labels) == len(set(labels)) >= 14
    assert printed.replace(r"\allowbreak{}", "").count("geng2024unmet") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--format", "docx"), "docx"),
        (("--spread", "range"), "range"),
        (("--to", "{folder}/none/report.md"), "cannot be written: there is no folder"),
        (("--to", "{folder}"), "it is a folder"),
        (("--format", "latex", "--figure", "{folder}/found.svg"), "LaTeX cannot include"),
    ],
)
def test_what_cannot_be_written_is_refused_in_plain_words(
    reported: Reported, words: tuple[str, ...], told: str
) -> None:
    refused = reported.types("report", "quick", *(word.format(folder=reported.folder) for word in words))
    assert refused.exit_code == 2
    assert told in " ".join(re.sub(r"[│\n]", " ", refused.output).split())
    assert "Traceback" not in refused.output
