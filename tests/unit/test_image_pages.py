"""Pages of images, steps and runs without scripts, and what the page of an experiment shows of its images."""

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient
from support.finished_experiments import Told, post, post_experiment
from support.memory_services import fail_step
from support.pages import page, section, texts
from support.shown_images import FATES, GAMMAS, HELD_OUT, pool_rows, show_images
from support.specs import DictLookup, spec
from touchstone_api.bootstrap import Services
from touchstone_api.dashboard.curves import draw_accuracy, draw_loss
from touchstone_api.dashboard.funnel import funnel
from touchstone_contracts.curation import CurationCounts
from touchstone_contracts.steps import EpochScore
from touchstone_contracts.views import DrawnImages, TrainingRun

BROWSER = {"Accept": "text/html"}
CANDIDATES = len(FATES)


@pytest.fixture
def told(services: Services) -> Told:
    return show_images(services)


def images(told: Told, arm: str = "retrieved") -> str:
    return f"/experiments/{told.id}/arms/{arm}/images"


def links(html: str, rel: str) -> list[str]:
    anchors = [anchor for anchor in re.findall("<a [^>]*>", html) if f'rel="{rel}"' in anchor]
    return [unescape(address) for anchor in anchors for address in re.findall('href="([^"]+)"', anchor)]


def test_the_page_of_an_image_says_everything_that_is_stored(api: TestClient, told: Told) -> None:
    leaked = pool_rows("fine", "retrieved")[2]
    html = page(api, f"{images(told)}/{leaked.id}?target=fine")
    assert texts(html, "h1") == ["thing 0, retrieved"]
    facts = dict(zip(texts(html, "dt"), texts(html, "dd"), strict=True))
    assert facts["Class (the label it trains with)"] == "thing 0"
    assert facts["Caption"] == "an icon of <thing> 0 & friends"
    assert facts["Source"] == "upstream: retrieved-2"
    assert facts["Cosine to the most similar test image"] == "0.971"
    assert facts["CLIP score against its class"] == "0.202"
    assert facts["Curation"] == "dropped: Leaked"
    assert facts["sha256 of its bytes"] == leaked.id
    assert len(facts) >= 9
    captions = texts(html, "figcaption")
    assert captions[0] == "The image, 32 × 32 pixels."
    assert captions[1].startswith("The most similar test image: thing 0, cosine 0.971. It is test-0 of the test split")
    assert len(captions) == 3
    served = [unescape(address) for address in re.findall(r'<img[^>]* src="([^"]+)"', html)]
    assert [api.get(address).status_code for address in served] == [200] * 3


def test_a_perturbed_image_stands_beside_the_one_it_was_made_from(api: TestClient, told: Told) -> None:
    html = page(api, f"{images(told, 'soft')}/{pool_rows('fine', 'soft')[0].id}?target=fine")
    facts = dict(zip(texts(html, "dt"), texts(html, "dd"), strict=True))
    parent = pool_rows("fine", "retrieved")[0].id
    assert facts["Parent"] == f"{parent} , perturbed at gamma 0.2"
    assert facts["Noise seed"] == "7"
    assert facts["Generator"] == "diffusion"
    [address] = set(re.findall(rf'href="([^"]+/arms/retrieved/images/{parent}\?[^"]*)" data-image', html))
    assert texts(page(api, unescape(address)), "h1") == ["thing 0, retrieved"]


def test_the_next_image_is_the_next_of_the_choice_until_there_is_none(api: TestClient, told: Told) -> None:
    rows = [number for number, (_, reason) in enumerate(FATES) if reason]
    listed = page(api, f"{images(told)}?target=fine&show=dropped")
    [first, *_] = re.findall(rf'data-image href="({images(told)}/[^"]+)"', listed)
    address, walked, previous = unescape(first), [], []
    while True:
        html = page(api, address)
        walked.append(int(re.findall(r"row=(\d+)", address)[0]))
        previous.append(links(html, "prev"))
        if not (following := links(html, "next")):
            break
        [address] = following
    assert walked == rows
    assert len(walked) == 6
    assert previous[0] == []
    assert [re.findall(r"row=(\d+)", before[0]) for before in previous[1:]] == [[str(row)] for row in rows[:-1]]
    assert "6 of 6" in html


def test_images_are_listed_by_class_and_by_what_curation_did(api: TestClient, told: Told) -> None:
    chosen = {
        "": CANDIDATES, "&show=kept": 6, "&show=dropped": 6, "&show=leaked": 1, "&class_id=2": 4,
        "&class_id=1&show=kept": 2, "&class_id=7": 0, "&class_id=&show=all": CANDIDATES,
    }  # fmt: skip
    for query, number in chosen.items():
        html = page(api, f"{images(told)}?target=fine{query}")
        assert html.count("<a data-image") == number, query
    options = texts(page(api, f"{images(told)}?target=fine"), "option")
    assert "Dropped: Leaked (1)" in options
    assert len([option for option in options if option.startswith("Dropped: ")]) == 6
    for query in ("&show=nothing", "&class_id=x", "&class_id=-1"):
        answer = api.get(f"{images(told)}?target=fine{query}", headers=BROWSER)
        assert answer.status_code == 422
        assert answer.headers["content-type"].startswith("text/html")


def test_pages_of_images_that_are_not_there_say_so(api: TestClient, services: Services, told: Told) -> None:
    other = spec(name="other", seeds=(4, 5), sizes=(3,))
    waiting = post(services, other, DictLookup())
    asked = {
        f"{images(told)}/{'0' * 64}?target=fine": 404,
        f"{images(told, 'none')}?target=fine": 404,
        "/experiments/exp_nothing/arms/retrieved/images": 404,
        "/experiments/exp_nothing/steps": 404,
        "/experiments/exp_nothing/runs": 404,
        f"/experiments/{told.id}/runs?size=7": 422,
        f"/experiments/{told.id}/runs?arm=none": 404,
        f"/experiments/{told.id}/steps?state=lost": 422,
        f"/experiments/{waiting.id}/runs": 200,
    }
    answers = {address: api.get(address, headers=BROWSER) for address in asked}
    assert {address: answer.status_code for address, answer in answers.items()} == asked
    assert all(answer.headers["content-type"].startswith("text/html") for answer in answers.values())


def test_funnels_lead_from_what_was_asked_for_to_what_is_drawn(api: TestClient, told: Told) -> None:
    html = page(api, f"/experiments/{told.id}")
    tables = re.findall(r'<table class="funnel">(.*?)</table>', html, re.DOTALL)
    assert len(tables) == 2 * 4  # targets x arms
    [retrieved] = [table for table in tables if "<caption>fine, retrieved:" in table]
    rows = [texts(row, "t[hd]") for row in re.findall(r"<tr>(.*?)</tr>", retrieved, re.DOTALL)[1:]]
    counts = api.get(f"/v1/experiments/{told.id}/arms/retrieved", params={"target": "fine"}).json()["counts"]
    assert [row[:3] for row in rows] == [
        ["Asked for", "", str(counts["requested"])],
        ["Found or generated", "3", str(counts["obtained"])],
        ["Leaked", "1", "11"],
        ["In validation", "1", "10"],
        ["Label conflict", "1", "9"],
        ["Near-duplicate", "1", "8"],
        ["Filtered", "1", "7"],
        ["Over cap", "1", "6"],
        ["Kept by curation", "", str(counts["kept"])],
        ["Drawn for size 6", "", "6"],
    ]
    removed = [unescape(address) for address in re.findall(r'<td class="number"><a href="([^"]+)"', retrieved)]
    assert [page(api, address).count("<a data-image") for address in removed] == [1] * 6


def test_a_funnel_without_a_report_counts_by_stage() -> None:
    counts = CurationCounts(requested=0, obtained=9, leaked=2, near_duplicate=0, filtered=3, over_cap=0, kept=4)
    drawn = (DrawnImages(size=4, images=6), DrawnImages(size=8, images=None))
    found = funnel("fine", "mixed", counts, None, drawn)
    assert [(stage.words, stage.removed, stage.left) for stage in found.stages] == [
        ("Asked for", None, 0), ("Found or generated", 0, 9), ("Leaked", 2, 7), ("Filtered", 3, 4),
        ("Kept by curation", None, 4), ("Drawn for size 4", None, 6),
    ]  # fmt: skip
    assert [stage.width for stage in found.stages] == [0.0, 100.0, 77.8, 44.4, 44.4, 66.7]
    nothing = CurationCounts(requested=0, obtained=0, leaked=0, near_duplicate=0, filtered=0, over_cap=0, kept=0)
    assert {stage.width for stage in funnel("fine", "x", nothing, None, ()).stages} == {0.0}


def test_strips_show_a_source_image_at_rising_gamma(api: TestClient, told: Told) -> None:
    shown = section(page(api, f"/experiments/{told.id}"), "strips-title")
    [fine, broad] = re.findall(r'<table class="strips">(.*?)</table>', shown, re.DOTALL)
    headings = texts(fine, "th")
    assert headings[:4] == ["Class", "Source image", "γ = 0.2 soft", "γ = 0.6 strong"]
    assert headings[4:] == ["thing 0", "thing 1", "thing 2"]
    rows = re.findall(r"<tr>(.*?)</tr>", fine, re.DOTALL)[1:]
    ids = [re.findall(r'<img src="/v1[^"]*/images/(\w+)\?', row) for row in rows]
    sources = [row for row in pool_rows("fine", "retrieved") if row.record.kept][::2]
    made = [pool_rows("fine", arm)[::2] for arm in sorted(GAMMAS, key=GAMMAS.__getitem__)]
    assert ids == [[source.id, soft.id, strong.id] for source, soft, strong in zip(sources, *made, strict=True)]
    assert fine.count('<td class="dropped">') == 2  # the first image of class 2 leaked at both
    assert fine != broad


def test_leaks_stand_beside_the_held_out_images_that_they_resemble(api: TestClient, told: Told) -> None:
    shown = section(page(api, f"/experiments/{told.id}"), "leaks-title")
    headings = texts(shown, "h3")
    assert headings[:2] == ["broad, retrieved: test images", "broad, retrieved: validation images"]
    assert len(headings) == 2 * (2 + 2 + 1 + 1)  # targets x (retrieved, synthetic: both splits; soft, strong: test)
    pairs = re.findall(r"<li>(.*?)</li>", shown, re.DOTALL)
    assert len(pairs) == len(headings)
    for pair in pairs:
        image, held_out = re.findall(r'<img src="([^"]+)"', pair)
        assert "/arms/" in image
        assert "/targets/" in held_out
        assert api.get(unescape(held_out)).status_code == 200
    assert texts(pairs[0], "span") == ["thing 0, 0.971"]


def test_an_experiment_without_perturbations_or_leaks_hides_both_sections(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    html = page(api, f"/experiments/{told.id}")
    for name in ("strips", "leaks"):
        assert re.search(rf'<section [^>]*id="{name}"[^>]* hidden>', html)
    assert "No arm is curated yet." in html


def test_steps_tell_attempts_worker_problem_log_and_how_to_retry(api: TestClient, services: Services) -> None:
    told = post_experiment(services)
    failed = next(step for step in told.plan.steps if step.kind == "retrieve_images")
    fail_step(services, failed.id)
    for address in ("", "/steps", "/steps?state=failed"):
        html = page(api, f"/experiments/{told.id}{address}")
        [row] = [row for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL) if "data-retry" in row]
        assert [texts(row, "td")[index] for index in (0, 1, 2)] == ["failed", "1", "w1"]
        assert 'href="/problems/bug"' in row or "#bug" in row
        assert "no space left on device" in row
        assert "OSError: 28" in row
        assert f'data-retry="/v1/experiments/{told.id}/steps/{failed.id}/retry"' in row
    everything = page(api, f"/experiments/{told.id}/steps")
    assert everything.count('<tr><th scope="row">') == min(100, len(told.plan.steps))
    following = links(everything, "next")
    assert bool(following) == (len(told.plan.steps) > 100)
    assert "There is no such step." in page(api, f"/experiments/{told.id}/steps?state=leased")


def test_runs_are_drawn_and_told_in_a_table(api: TestClient, told: Told) -> None:
    html = page(api, f"/experiments/{told.id}/runs?target=fine&arm=synthetic&size=6")
    runs = api.get(f"/v1/experiments/{told.id}/arms/synthetic/runs?target=fine&size=6").json()["runs"]
    assert html.count("<polyline") >= 2 * len(runs) >= 4  # loss and accuracy; and the key
    assert f"{len(runs)} of {len(runs)} runs have finished." in html
    rows = re.findall(r'<th scope="row">(learning rate [^<]+)</th>', html)
    assert rows == [f"learning rate {run['learning_rate']:g}, seed {run['seed']}" for run in runs]


def test_curves_keep_within_their_drawing_and_small_differences_small() -> None:
    def run(seed: int, losses: list[float], accuracies: list[float]) -> TrainingRun:
        scores = zip(losses, accuracies, strict=True)
        epochs = tuple(
            EpochScore(epoch=number, train_loss=loss, validation_accuracy=found)
            for number, (loss, found) in enumerate(scores, 1)
        )
        return TrainingRun(
            step="0" * 64, learning_rate=1e-3, seed=seed, available=9, updates=3, best_epoch=1, epochs=epochs
        )

    runs = [run(0, [2.0, 1.0, 0.5], [0.7, 0.701, 0.7]), run(1, [1.5], [0.7]), run(2, [], [])]
    loss, accuracy = draw_loss(runs), draw_accuracy(runs)
    assert loss is not None
    assert accuracy is not None
    assert [len(curve.points.split()) for curve in loss.curves] == [3, 1]
    points = [tuple(map(float, point.split(","))) for curve in loss.curves for point in curve.points.split()]
    assert all(52 <= x <= 552 and 10 <= y <= 190 for x, y in points)
    assert points[0][1] < points[1][1] < points[2][1]  # down the page as the loss falls
    heights = [float(point.split(",")[1]) for point in accuracy.curves[0].points.split()]
    assert max(heights) - min(heights) < 20  # a tenth of a point does not fill the drawing
    lowest, *_, highest = (float(label) for _, label in accuracy.up)
    assert highest - lowest == pytest.approx(2.0, abs=0.11)
    assert draw_loss([run(2, [], [])]) is None
    assert HELD_OUT >= 3
