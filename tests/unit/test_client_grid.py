"""The picture of what arms train on: asked for by class and arm, kept images alone, missing ones left empty."""

import io
from pathlib import Path

import httpx
import pytest
from PIL import Image
from touchstone import Client
from touchstone.grid import ExperimentTarget, Row, draw_grid, evenly, fetch_row
from touchstone_contracts.catalogue import ClassLabel
from touchstone_contracts.identity import sha256
from touchstone_contracts.views import ImagePage, ImageView


def png(colour: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (2, [0, 5]), (3, [0, 3, 6]), (99, list(range(10)))])
def test_classes_are_taken_at_equal_distances(count: int, expected: list[int]) -> None:
    assert evenly(list(range(10)), count) == expected


def test_a_row_asks_for_kept_images_of_its_class_from_every_arm() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/bytes"):
            return httpx.Response(200, content=b"image")
        asked.append((request.url.path, dict(request.url.params)))
        shown = ImageView(
            id=sha256(b"image"), class_id=3, class_name="owl", url="/bytes", caption="owl", kept=True, drop_reason="",
            score=None, nearest_test_id=None, nearest_test_cosine=None, found_by="", query="",
        )  # fmt: skip
        return httpx.Response(200, json=ImagePage(items=(shown, shown)).model_dump(mode="json"))

    with Client("http://touchstone.test", transport=httpx.MockTransport(answer)) as client:
        animals, owl = ExperimentTarget("exp_1", "animals"), ClassLabel(id=3, display_name="owl")
        row = fetch_row(client, animals, owl, ["real", "made"], 2)
    assert row == Row("owl", {"real": [b"image"] * 2, "made": [b"image"] * 2})
    wanted = {"target": "animals", "class_id": "3", "kept": "true", "limit": "2"}
    assert asked == [(f"/v1/experiments/exp_1/arms/{arm}/images", wanted) for arm in ("real", "made")]


def test_the_grid_shows_every_image_and_leaves_missing_ones_empty(tmp_path: Path) -> None:
    rows = [
        Row("owl", {"real": [png("red"), png("red")], "made": [png("blue")]}),
        Row("ant", {"real": [], "made": [png("blue"), png("blue")]}),
    ]
    draw_grid(rows, 2, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = list(picture.convert("RGB").get_flattened_data())
    red, blue = pixels.count((255, 0, 0)), pixels.count((0, 0, 255))
    assert red > 1000
    assert blue == pytest.approx(1.5 * red, rel=0.1)
