"""Naming, captioning and fetching of the miniverse's drawings, and its latent codec."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from touchstone_miniverse.augmentation import augment, move_and_bend
from touchstone_miniverse.build import DigestMismatch, Picture, check_digests, without_shared_drawings
from touchstone_miniverse.captions import caption, captions
from touchstone_miniverse.codec import build_codec, decode, encode, fit_components
from touchstone_miniverse.disjointness import near_pairs
from touchstone_miniverse.emoji_names import EmojiIndex
from touchstone_miniverse.fetch import PackageMismatch, fetch, read_members
from touchstone_miniverse.icons import drawings
from touchstone_miniverse.likeness import group_leaders, same_drawing
from touchstone_miniverse.noise import noisy_caption
from touchstone_miniverse.render import render_svg, svg_of_icon
from touchstone_miniverse.schedules import flat_then_linear, warmup_cosine
from touchstone_miniverse.sources import SOURCES_BY_NAME, Package, Registry
from touchstone_miniverse.tokens import train_tokenizer
from touchstone_miniverse.upstream import Pairs, fixed_fraction

ENTRIES = [
    {"label": "red apple", "hexcode": "1F34E", "emoji": "🍎", "tags": ["fruit", "red"], "group": 4, "subgroup": 1},
    {
        "label": "flag: Côte d’Ivoire",
        "hexcode": "1F1E8-1F1EE",
        "emoji": "🇨🇮",
        "tags": ["CI"],
        "group": 9,
        "subgroup": 2,
    },
]
MESSAGES = {
    "groups": [{"order": 4, "message": "food & drink"}, {"order": 9, "message": "flags"}],
    "subgroups": [{"order": 1, "message": "fruit"}, {"order": 2, "message": "country flags"}],
}


@pytest.fixture
def index() -> EmojiIndex:
    codes = {f"en/shortcodes/{name}.json": b"{}" for name in ("cldr", "joypixels", "iamcal", "github", "emojibase")}
    codes["en/shortcodes/github.json"] = json.dumps({"1F34E": ["apple_fruit", "+1"]}).encode()
    files = {"en/data.json": json.dumps(ENTRIES).encode(), "en/messages.json": json.dumps(MESSAGES).encode()}
    return EmojiIndex(files | codes)


def icons_file(*names: str) -> dict[str, bytes]:
    icons = {name: {"body": '<circle cx="8" cy="8" r="4" fill="red"/>'} for name in names}
    return {"icons.json": json.dumps({"icons": icons}).encode()}


def test_icon_names_lead_to_emoji_by_word_by_country_and_by_code(index: EmojiIndex) -> None:
    assert index.from_word("redapple") is index.from_word("red-apple") is index.from_hexcode("1f34e")
    ivory_coast = index.from_flag_code("ci")
    assert ivory_coast is not None
    assert ivory_coast.name == "flag of Cote d'Ivoire"
    assert index.from_word("flag-for-cote-divoire") is ivory_coast
    assert index.from_word("nothing-like-it") is index.from_flag_code("lang-ci") is None


def test_caption_starts_with_the_name_and_ends_with_the_category(index: EmojiIndex) -> None:
    source = SOURCES_BY_NAME["twemoji"]
    (apple,) = drawings(source, icons_file("red-apple"), index)
    assert caption(apple, source) == "red apple, flat twemoji style emoji, red, fruit"


def test_skin_tones_are_left_out(index: EmojiIndex) -> None:
    files = icons_file("waving-hand", "waving-hand-dark-skin-tone", "waving-hand-medium")
    assert [drawing.key for drawing in drawings(SOURCES_BY_NAME["twemoji"], files, index)] == ["twemoji/waving-hand"]


def test_flags_without_a_country_are_left_out(index: EmojiIndex) -> None:
    found = list(drawings(SOURCES_BY_NAME["flag"], icons_file("ci-4x3", "xx-4x3", "lang-en"), index))
    assert [drawing.key for drawing in found] == ["flag/ci-4x3"]


def test_undrawable_and_one_coloured_pictures_are_refused() -> None:
    assert render_svg("<svg") is None
    assert render_svg(svg_of_icon("", 0, 0, 16, 16)) is None
    assert render_svg(svg_of_icon('<circle cx="8" cy="8" r="4" fill="red"/>', 0, 0, 16, 16)) is not None


def test_package_with_another_digest_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(member := tarfile.TarInfo("package/icons.json"), io.BytesIO(b""))
    assert member.size == 0
    (tmp_path / "scope-icons-1.0.0.tgz").write_bytes(content.getvalue())
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    good = Package(Registry.NPM, "@scope/icons", "1.0.0", digest)
    assert read_members(good, fetch(good, tmp_path), r"icons\.json$") == {"icons.json": b""}
    with pytest.raises(PackageMismatch, match="sha256"):
        fetch(Package(Registry.NPM, "@scope/icons", "1.0.0", "0" * 64), tmp_path)


def test_rebuilt_file_with_other_bytes_is_named(tmp_path: Path) -> None:
    (tmp_path / "upstream-0000.parquet").write_bytes(b"one")
    check_digests(tmp_path, record=True)
    check_digests(tmp_path, record=False)
    (tmp_path / "upstream-0000.parquet").write_bytes(b"two")
    with pytest.raises(DigestMismatch, match=r"upstream-0000\.parquet"):
        check_digests(tmp_path, record=False)


def test_fixed_fraction_depends_on_the_key_alone() -> None:
    pairs = Pairs(np.zeros((400, 1, 1, 3), np.uint8), ["x"] * 400, [f"a/{n}" for n in range(400)], [], [])
    pairs = Pairs(pairs.images, pairs.captions, pairs.keys, [SOURCES_BY_NAME["twemoji"].kind] * 400, pairs.keys)
    chosen = fixed_fraction(pairs, 0.35, "mini-clip").keys
    assert 100 < len(chosen) < 180
    backwards = pairs.take(np.arange(400)[::-1])
    assert sorted(fixed_fraction(backwards, 0.35, "mini-clip").keys) == sorted(chosen)
    assert fixed_fraction(pairs, 0.35, "another purpose").keys != chosen


def test_codec_of_all_components_gives_every_pixel_back() -> None:
    torch.manual_seed(0)
    images = torch.rand(8, 3, 32, 32)  # noise: no pixel can be guessed from its neighbours
    codec = build_codec(fit_components(images, 48))
    assert type(codec) is AutoencoderTiny
    with torch.no_grad():
        latents = encode(codec, images)
        again = decode(codec, latents)
    assert latents.shape == (8, 48, 8, 8)
    # tanh(z / 3) * 3 before the decoder bends the largest latents a little.
    assert float((again - images).abs().mean()) < 0.02


def test_fewer_components_keep_a_smooth_picture() -> None:
    ramp = torch.linspace(0, 1, 32)
    images = torch.stack([ramp.expand(3, 32, 32), ramp[:, None].expand(3, 32, 32), torch.full((3, 32, 32), 0.5)])
    codec = build_codec(fit_components(images, 6))
    with torch.no_grad():
        again = decode(codec, encode(codec, images))
    assert float((again - images).abs().max()) < 0.05


@pytest.mark.parametrize("schedule", [warmup_cosine, flat_then_linear])
def test_learning_rate_rises_to_its_peak_and_falls(schedule: object) -> None:
    assert callable(schedule)
    rates = [schedule(step, 10, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[-1] < 0.06


def disc(colour: str, radius: int = 20) -> bytes:
    return drawn(f'<circle cx="32" cy="32" r="{radius}" fill="{colour}"/>')


def drawn(body: str) -> bytes:
    picture = render_svg(svg_of_icon(body, 0, 0, 64, 64))
    assert picture is not None
    return picture


def test_a_reshaded_drawing_is_the_same_and_another_shape_is_not() -> None:
    plain, shaded = disc("#ff0000"), disc("#e01010", radius=21)
    other = drawn('<rect x="4" y="4" width="20" height="56" fill="#ff0000"/>')
    assert same_drawing(plain, [other, shaded])
    assert not same_drawing(plain, [other])
    assert not same_drawing(plain, [])
    assert group_leaders([plain, other, shaded]) == [0, 1, 0]


def test_train_gives_way_to_test_where_both_show_one_drawing() -> None:
    def picture(source: str, image: bytes) -> Picture:
        return Picture(f"{source}/x", image, "x", ("x",), SOURCES_BY_NAME[source], "1F34E")

    square = drawn('<rect x="4" y="4" width="40" height="56" fill="#00ff00"/>')
    pictures = [
        picture("noto-v1", disc("#ff0000")),
        picture("openmoji", square),
        picture("noto", disc("#f00000")),
        picture("fxemoji", disc("#f80000")),
    ]
    kept = [entry.source.name for entry in without_shared_drawings(pictures)]
    assert kept == ["openmoji", "noto", "fxemoji"]  # both test drawings stay: they are in one split


def test_perceptual_hash_finds_a_planted_copy_and_nothing_else() -> None:
    upstream = np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), np.uint8)
    held_out = np.concatenate(
        [upstream[:2] // 2 + 60, np.random.default_rng(1).integers(0, 255, (6, 64, 64, 3), np.uint8)]
    )
    found = near_pairs(held_out, upstream)
    assert found.pictures == 8
    assert found.within == {2: 2, 6: 2}


def test_caption_noise_spoils_the_asked_share_and_is_fixed_by_the_key() -> None:
    others = [f"thing {number}" for number in range(50)]
    said = [noisy_caption(f"a/{number}", "red apple, style, fruit", others, 0.3) for number in range(2_000)]
    spoiled = [text for text in said if text != "red apple, style, fruit"]
    assert len(spoiled) / 2_000 == pytest.approx(0.3, abs=0.04)
    assert said == [noisy_caption(f"a/{number}", "red apple, style, fruit", others, 0.3) for number in range(2_000)]
    assert any(text in others for text in spoiled)
    assert any(text.endswith(".png") for text in spoiled)
    assert noisy_caption("a/1", "red apple", others, 0.0) == "red apple"
    with pytest.raises(ValueError, match="between 0 and 1"):
        noisy_caption("a/1", "red apple", others, 1.5)


def test_a_picture_has_several_captions_and_its_aliases_among_them(index: EmojiIndex) -> None:
    source = SOURCES_BY_NAME["twemoji"]
    (apple,) = drawings(source, icons_file("red-apple"), index)
    said = captions(apple, source)
    assert said[:3] == ["red apple", "red apple, flat twemoji style emoji", "an icon of red apple"]
    assert {"apple fruit", "red", "fruit"} <= set(said)


def test_the_same_captions_always_give_the_same_vocabulary() -> None:
    pictures = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("cat", "owl")]
    said = [f"{picture} number {number}" for picture in pictures for number in range(40)]
    first, second = (train_tokenizer(said, context=16, size=700) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert first("red owl").input_ids == second("red owl").input_ids
    assert max(first.get_vocab().values()) == first.eos_token_id


def test_moved_pictures_keep_their_colours_on_white_and_move_more_the_stronger() -> None:
    square = np.full((64, 64, 3), 255, np.uint8)
    square[16:48, 16:48] = (255, 0, 0)
    pictures = torch.from_numpy(np.stack([square] * 64))
    still, gentle, strong = (
        move_and_bend(pictures, 32, np.random.default_rng(0), strength) for strength in (0.0, 0.3, 1.0)
    )
    assert still.shape == (64, 3, 32, 32)
    assert torch.equal(still[0], still[-1])
    assert 0 < (gentle - still).abs().mean() < (strong - still).abs().mean()
    for moved in (still, gentle, strong):
        assert torch.allclose(moved[:, :, 0, 0], torch.ones(()))  # what lies outside is white
        assert torch.allclose(moved[:, :, 16, 16], torch.tensor([1.0, 0.0, 0.0]), atol=1e-5)
    assert torch.equal(strong, move_and_bend(pictures, 32, np.random.default_rng(0)))
    assert not torch.equal(strong, augment(pictures, 32, np.random.default_rng(0)))
