"""What reports mark in tables of accuracies, and how each format writes what could break it."""

from html.parser import HTMLParser

import pytest
from support.latex_text import NotLatex, check_latex, tabulars
from touchstone.reports.accuracies import accuracy_table
from touchstone.reports.blocks import Block, Bullets, Heading, Listing, Paragraph, Table
from touchstone.reports.html import to_html
from touchstone.reports.latex import to_latex
from touchstone.reports.markdown import to_markdown
from touchstone.reports.methods import in_words
from touchstone_contracts.views import SummaryRow

HOSTILE = (
    r"50 % of $5 & #1 {a}_b~c^d \end{document}",
    r"\input{/etc/passwd}",
    "<script src='http://example.org/x.js'></script>",
    "[link](javascript:alert) *stars* | pipe",
    "--dry-run 'quoted' \"twice\" `ticks`",
)


def row(arm: str, size: int, mean: float, std: float | None = 0.01, seeds: int = 3) -> SummaryRow:
    return SummaryRow(target="flags", arm=arm, size=size, metric="zero_shot", mean=mean, std=std, seeds=seeds)


def blocks(text: str) -> list[Block]:
    """Every kind of block but pictures, with the same text everywhere."""
    table = Table("t", text, (text, "n"), ((text, "1"), ("b", text)), frozenset({(0, 0)}), note=text)
    return [Heading(text, 1), Paragraph(text), Paragraph(text, strong=True), Bullets((text,)), Listing(text, ""), table]


def test_the_best_arm_of_a_size_is_marked_and_those_within_its_range_are_tied() -> None:
    table = accuracy_table([row("a", 8, 0.60), row("b", 8, 0.585), row("c", 8, 0.5)], "zero_shot", "std", 0.95)
    assert table.best == {(0, 2)}
    assert [cells[2] for cells in table.rows] == ["60.0 ± 1.0", "58.5 ± 1.0 †", "50.0 ± 1.0"]
    assert "†: its mean ± standard deviation overlaps" in table.note


def test_equal_means_are_both_the_best_and_not_tied() -> None:
    table = accuracy_table([row("a", 8, 0.6), row("b", 8, 0.6)], "zero_shot", "std", 0.95)
    assert table.best == {(0, 2), (1, 2)}
    assert "†" not in table.note


def test_each_size_has_its_own_best_and_a_missing_size_is_an_empty_cell() -> None:
    rows = [row("a", 8, 0.6), row("b", 8, 0.5), row("b", 16, 0.7), row("c", 16, 0.6)]
    table = accuracy_table(rows, "zero_shot", "std", 0.95)
    assert table.best == {(0, 2), (1, 3)}
    assert (table.rows[0][3], table.rows[2][2]) == ("", "")


def test_one_arm_alone_is_not_called_the_best() -> None:
    table = accuracy_table([row("a", 8, 0.6)], "zero_shot", "std", 0.95)
    assert (table.best, table.note) == (frozenset(), "")


def test_one_seed_has_a_mean_without_a_spread() -> None:
    for spread in ("std", "interval"):
        table = accuracy_table([row("a", 8, 0.6, std=None, seeds=1)], "zero_shot", spread, 0.95)  # type: ignore[arg-type]
        assert table.rows == (("flags", "a", "60.0"),)


def test_an_untouched_encoder_alone_has_a_column() -> None:
    table = accuracy_table([row("none", 0, 0.4, std=None)], "zero_shot", "std", 0.95)
    assert table.headings == ("target", "arm", "untouched")
    assert table.rows == (("flags", "none", "40.0"),)


def test_intervals_are_students_t_over_the_seeds() -> None:
    """t(0.975, 2 degrees of freedom) = 4.3027 from printed tables; 4.3027 x 1 / sqrt(3) = 2.48 points."""
    table = accuracy_table([row("a", 8, 0.6)], "zero_shot", "interval", 0.95)
    assert table.rows == (("flags", "a", "60.0 ± 2.5"),)
    assert "95 % interval" in table.title


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_escapes_whatever_a_name_may_hold(text: str) -> None:
    written = to_latex(blocks(text), "label")
    assert check_latex(written) > 50
    assert written.count(r"\end{document}") == 1
    (table,) = tabulars(written)
    assert len(table.rows) == 3


@pytest.mark.parametrize("text", HOSTILE)
def test_html_escapes_whatever_a_name_may_hold(text: str) -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[str] = []
            self.text = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.tags.append(tag)

        def handle_data(self, data: str) -> None:
            self.text += data

    reader = Reader()
    reader.feed(to_html(text, blocks(text)))
    assert reader.text.count(text) == 11  # the title, and ten in the blocks
    assert {"script", "a", "img", "link"} & set(reader.tags) == set()


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_keeps_the_cells_of_a_table(text: str) -> None:
    lines = to_markdown([blocks(text)[-1]]).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4
    assert [len(line.replace(r"\|", "").split("|")) for line in rows] == [4] * 4
    assert not any("<script" in line.replace(r"\<", "") for line in lines)


def test_a_listing_of_markdown_is_fenced_longer_than_what_it_holds() -> None:
    lines = to_markdown([Listing("```\ninner\n```", "yaml")]).splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("````yaml", "````", 5)


def test_labels_differ_between_experiments() -> None:
    one: list[Block] = [Heading("a", 1), Table("t", "t", ("h",), (("c",),), texts=1)]
    written = to_latex([*one, *one], "label")
    assert [table.label for table in tabulars(written)] == ["tab:label-t", "tab:label-2-t"]


@pytest.mark.parametrize("wrong", ["{", "a_b", "$", r"\begin{table}", r"\unknown", "50 % off"])
def test_the_reader_of_latex_refuses_what_tex_refuses(wrong: str) -> None:
    with pytest.raises(NotLatex):
        check_latex("\\begin{document}" + wrong + "\\end{document}")


def test_settings_in_words_leave_out_what_is_unset_and_count_what_is_long() -> None:
    words = in_words(
        {"steps": 50, "scale": 2.0, "on": True, "none": None, "seeds": list(range(30)), "in": {"x_y": 1e-5}}
    )
    assert words == "steps 50, scale 2, on yes, seeds 30 entries (see the spec), in (x y 1e-05)"
