"""Decisions say what is true: the files that they name are there, and the index has every page."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DECISIONS = ROOT / "docs" / "decisions"
PAGES = sorted(DECISIONS.glob("0*.md"))
NAMED = re.compile(r"`((?:tests|libs|services|stack|miniverse|clients|images|k8s)/[\w./-]+)`")


def test_the_index_names_every_page_once_with_its_title() -> None:
    index = (DECISIONS / "README.md").read_text()
    rows = re.findall(r"^\| \[(\d{4})\]\(([\w-]+\.md)\) \| (.+) \|$", index, re.MULTILINE)
    assert [name for _, name, _ in rows] == [page.name for page in PAGES]
    assert len(PAGES) >= 36
    for number, name, title in rows:
        assert (DECISIONS / name).read_text().startswith(f"# {number} {title}\n"), name


def test_every_file_that_a_decision_names_is_there() -> None:
    named = [(page.name, path) for page in PAGES for path in NAMED.findall(page.read_text())]
    assert len(named) >= 50
    assert [(page, path) for page, path in named if not (ROOT / path).exists()] == []
