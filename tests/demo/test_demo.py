"""The demo: real icons, real models, every process of its own. `pytest tests/demo --whole-demo` runs all of quick-look.

The short form keeps arms, curation and recipe and asks one target. The last tests disturb the stack: order matters.
"""

import csv
import io
import re
from collections import Counter

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect
from support.browsing import DESK, Visitor
from support.finished_demo import FinishedDemo
from support.killing import forget_results, kill_in_the_middle
from support.tiny_world import expected_cells

SHARED_BY_SIZES = {
    "ingest_images", "embed_images", "retrieve_images", "write_prompts", "generate_images",
    "curate_images", "check_target",
}  # fmt: skip
PAGE_HEIGHT = 4000


def test_it_prints_results_verdict_and_the_dashboards_address(finished_demo: FinishedDemo) -> None:
    assert re.search(r"retrieved\s.*\d\d\.\d", finished_demo.printed)
    assert finished_demo.client.verdict(finished_demo.experiment.id).headline[:30] in finished_demo.printed
    assert f"/experiments/{finished_demo.experiment.id}" in finished_demo.printed


def test_results_hold_one_value_per_cell_and_the_csv_agrees(finished_demo: FinishedDemo) -> None:
    rows = finished_demo.results.rows
    cells = [(row.target, row.arm, row.size, row.seed, row.metric) for row in rows]
    assert len(cells) == len(set(cells)) >= 20
    assert set(cells) == expected_cells(finished_demo.study)
    assert all(0 <= row.value <= 1 for row in rows)
    lines = list(csv.DictReader(io.StringIO(finished_demo.client.results_csv(finished_demo.experiment.id))))
    told = [(line["target"], line["arm"], int(line["size"]), int(line["seed"]), line["metric"]) for line in lines]
    assert told == cells
    assert [float(line["value"]) for line in lines] == pytest.approx([row.value for row in rows], abs=1e-12)


def test_no_arm_lost_an_image_unaccounted(finished_demo: FinishedDemo) -> None:
    counts = finished_demo.results.counts
    assert len(counts) == 2 * len(finished_demo.study["targets"])
    for each in (entry.counts for entry in counts):
        assert each.obtained == each.kept + sum(each.dropped.values())
        assert each.kept >= max(finished_demo.study["sizes"])


def test_every_arm_has_a_label_card_and_most_labels_of_flags_are_right(finished_demo: FinishedDemo) -> None:
    found = finished_demo.client.label_cards(finished_demo.experiment.id)
    assert found.judge == "mini-clip-full"
    assert len(found.cards) == 2 * len(finished_demo.study["targets"])
    for entry in found.cards:
        assert entry.card.agreement is not None
        assert entry.card.agreement.share is not None
        if entry.arm == "retrieved":
            assert entry.card.agreement.share >= (0.85 if entry.target == "flags" else 0.5)
    assert "mini-clip-full" in finished_demo.printed


def test_the_dashboard_shows_curves_and_images(
    finished_demo: FinishedDemo, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    visitor = Visitor(browser, {**DESK, "height": PAGE_HEIGHT})
    page = visitor.page
    page.goto(f"{finished_demo.client.server}/experiments/{finished_demo.experiment.id}")
    curves = 2 * len(finished_demo.study["targets"])  # two metrics
    expect(page.locator(".chart .series")).to_have_count(2 * curves)
    expect(page.locator("#verdict .headline")).to_contain_text("retrieved")
    pictures = page.locator("#gallery img")
    expect(pictures.first).to_be_visible()
    assert pictures.count() >= 20
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    folder = tmp_path_factory.mktemp("screenshots")
    page.screenshot(path=folder / "dashboard.png", full_page=True)
    for part in (".chart >> nth=0", "#gallery"):
        seen = Image.open(io.BytesIO(page.locator(part).screenshot())).convert("RGB")
        colours = seen.getcolors(maxcolors=seen.width * seen.height)
        assert colours is not None
        assert len(colours) > 100, f"{part} is all but empty in {folder / 'dashboard.png'}"
    assert visitor.complaints == []
    page.close()


def test_charts_tell_the_numbers_of_the_results(finished_demo: FinishedDemo, browser: Browser) -> None:
    visitor = Visitor(browser, DESK)
    page = visitor.page
    page.goto(f"{finished_demo.client.server}/experiments/{finished_demo.experiment.id}")
    shown = Counter(title.strip() for title in page.locator(".chart .mark title").all_text_contents())
    told = Counter(
        f"{row.arm if row.size else 'untouched encoder'}: {row.mean * 100:.1f} %"
        + (f" at {row.size} images" if row.size else "")
        + ("" if row.std is None else f" (± {row.std * 100:.1f}, standard deviation over {row.seeds} seeds)")
        for row in finished_demo.results.summary
    )
    assert shown == told
    assert shown.total() >= 5 * 2 * len(finished_demo.study["targets"])
    page.close()


def test_a_clone_with_other_sizes_repeats_no_retrieval_generation_or_curation(
    finished_demo: FinishedDemo, browser: Browser
) -> None:
    client, sizes = finished_demo.client, finished_demo.study["sizes"]
    clone = client.clone(finished_demo.experiment.id, {"name": "other sizes", "sizes": [sizes[0], sizes[0] + 15]})
    total = Counter(step.kind for step in client.experiment(clone.id).step_list)
    assert {kind: clone.reused_by_kind.get(kind) for kind in SHARED_BY_SIZES} == {
        kind: total[kind] for kind in SHARED_BY_SIZES
    }
    page = browser.new_page()
    page.goto(f"{client.server}/experiments/{clone.id}")
    expect(page.locator("#progress")).to_contain_text(f"{clone.steps.reused} of them reused")
    page.close()
    client.wait(clone.id, timeout=1200)
    assert client.results(clone.id).complete


@pytest.mark.timeout(1800)
def test_workers_and_conductor_killed_mid_work_change_no_result(finished_demo: FinishedDemo) -> None:
    """SIGKILL to retrieval, generator, a trainer and the conductor while every step is computed anew."""
    client, supervisor = finished_demo.client, finished_demo.stack.supervisor()
    assert forget_results(finished_demo.stack, finished_demo.experiment) == finished_demo.experiment.steps.total
    clone = client.clone(finished_demo.experiment.id, {"name": "killed"})
    assert clone.steps.reused == 0
    killings = kill_in_the_middle(supervisor, client, clone.id)
    assert killings.kinds() == {"retrieval", "generator", "trainer", "conductor"}
    ended = client.wait(clone.id, timeout=1500)
    assert killings.repeated(ended) >= {"embed_images", "generate_images", "adapt_encoder"}
    assert client.results(clone.id).digest == finished_demo.results.digest
