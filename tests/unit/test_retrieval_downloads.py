"""From ranked links to images: what stands in for a rotten link is a rule, and every link has an outcome."""

import asyncio
import io
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.tiny_images import draw_shape
from touchstone_contracts.identity import sha256
from touchstone_contracts.steps import ImagesDownloaded
from touchstone_retrieval.download.obtaining import Link, ranked_reserve
from touchstone_retrieval.download.opt_out import opted_out
from touchstone_retrieval.download.placeholders import alike, placeholders_among
from touchstone_retrieval.download.recording import REPORT, record_images
from touchstone_retrieval.ingest.link_table import link_id
from touchstone_runtime.addresses import is_public, is_web_port
from touchstone_runtime.artifacts import Artifacts
from touchstone_runtime.objects import MemoryObjects

RNG = np.random.default_rng(0)
PICTURES = {f"http://x/{number}": draw_shape("bar", "blue", RNG) for number in range(10)}
URLS = list(PICTURES)


def link(url: str, *, stated: bytes | None = None, similarity: float = 0.5, **changes: str) -> Link:
    named = link_id(url, sha256(stated) if stated else None)
    return Link(
        url,
        named,
        changes.get("caption", ""),
        changes.get("found_by", "semantic/image/0"),
        similarity,
        changes.get("drop_reason", ""),
    )


def downloaded(
    wanted: Sequence[Link],
    reserve: Sequence[Link],
    answers: Mapping[str, bytes | str],
    placeholder_links: int | None = None,
) -> tuple[ImagesDownloaded, list[dict[str, object]], list[str], list[list[str]]]:
    """Result, link report, URLs of the obtained images, and what was asked for in each turn."""
    artifacts, turns = Artifacts(MemoryObjects()), []

    async def fetch(urls: Sequence[str]) -> AsyncIterator[bytes | str]:
        turns.append(list(urls))
        for url in urls:
            yield answers[url]

    result = asyncio.run(record_images(wanted, reserve, 3, fetch, artifacts, placeholder_links=placeholder_links))
    table = artifacts.get_table(result.images.manifest)
    assert set(table["class_id"].to_pylist()) <= {3}
    return result, artifacts.get_table(result.links).to_pylist(), table["source_key"].to_pylist(), turns


def test_the_next_ranked_stand_in_until_none_is_missing() -> None:
    wanted, reserve = [link(url) for url in URLS[:4]], [link(url) for url in URLS[4:]]
    answers: dict[str, bytes | str] = {**PICTURES, URLS[1]: "not_found", URLS[3]: "timeout", URLS[4]: "refused"}
    result, report, obtained, turns = downloaded(wanted, reserve, answers)
    assert turns == [URLS[:4], URLS[4:6], URLS[6:7]]
    assert obtained == [URLS[0], URLS[2], URLS[5], URLS[6]]
    assert (result.requested, result.images.count, result.topped_up) == (4, 4, 2)
    assert result.rejected == {"not_found": 1, "refused": 1, "timeout": 1}
    assert [(row["url"], row["reserve"], row["outcome"]) for row in report] == [
        (URLS[0], False, "obtained"),
        (URLS[1], False, "not_found"),
        (URLS[2], False, "obtained"),
        (URLS[3], False, "timeout"),
        (URLS[4], True, "refused"),
        (URLS[5], True, "obtained"),
        (URLS[6], True, "obtained"),
    ]
    assert report[0]["sha256"] == sha256(PICTURES[URLS[0]])


def test_where_the_list_ends_the_shortfall_is_declared() -> None:
    answers: dict[str, bytes | str] = dict.fromkeys(URLS, "not_found") | {URLS[5]: PICTURES[URLS[5]]}
    result, report, obtained, _ = downloaded([link(u) for u in URLS[:3]], [link(u) for u in URLS[3:6]], answers)
    assert (result.requested, result.images.count, result.topped_up, obtained) == (3, 1, 1, [URLS[5]])
    assert result.rejected == {"not_found": 5}
    assert len(report) == 6


def test_a_class_without_links_is_an_empty_set() -> None:
    result, report, _, turns = downloaded([], [link(URLS[0])], {})
    assert (result.requested, result.images.count, report, turns) == (0, 0, [], [])


def bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    return buffer.getvalue()


def test_what_came_back_is_not_trusted() -> None:
    picture = PICTURES[URLS[0]]
    wanted = [
        link(URLS[0], stated=picture),
        link(URLS[1], stated=b"what was there when the table was made"),
        link(URLS[2]),
        link(URLS[3]),
        link(URLS[4]),
        link(URLS[5], drop_reason="nsfw"),
    ]
    answers = PICTURES | {URLS[2]: picture, URLS[3]: b"<html>gone</html>", URLS[4]: bomb()}
    result, report, obtained, turns = downloaded(wanted, [], answers)
    assert obtained == [URLS[0]]
    assert [row["outcome"] for row in report] == [
        "obtained", "changed", "duplicate", "undecodable_image", "too_large", "nsfw",
    ]  # fmt: skip
    assert turns == [URLS[:5]]
    assert sum(result.rejected.values()) == 5


GONE = draw_shape("circle", "red", RNG, size=256)


def gone(encoding: str, size: int) -> bytes:
    """The placeholder as another server has it."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(GONE)).resize((size, size), Image.Resampling.BICUBIC).save(buffer, encoding, quality=95)
    return buffer.getvalue()


def test_a_picture_behind_many_links_is_a_placeholder_and_is_replaced_by_others() -> None:
    wanted, reserve = [link(url) for url in URLS[:5]], [link(url) for url in URLS[5:]]
    answers = PICTURES | dict.fromkeys((URLS[0], URLS[2], URLS[3]), GONE)
    result, report, obtained, turns = downloaded(wanted, reserve, answers, placeholder_links=3)
    assert obtained == [URLS[1], *URLS[4:8]]
    assert turns == [URLS[:5], URLS[5:8]]
    assert (result.rejected, result.topped_up) == ({"placeholder": 3}, 3)
    assert [row["url"] for row in report if row["outcome"] == "placeholder"] == [URLS[0], URLS[2], URLS[3]]
    assert {row["sha256"] for row in report if row["outcome"] == "placeholder"} >= {sha256(GONE)}


def test_a_placeholder_in_other_sizes_and_formats_is_the_same_picture() -> None:
    copies = [gone("PNG", 256), gone("JPEG", 256), gone("WEBP", 200), gone("JPEG", 128)]
    assert len(set(copies)) == 4
    answers = PICTURES | dict(zip(URLS[:4], copies, strict=True))
    result, _, obtained, _ = downloaded([link(url) for url in URLS[:6]], [], answers, placeholder_links=4)
    assert obtained == URLS[4:6]
    assert result.rejected == {"placeholder": 4}


def test_fewer_links_to_a_picture_are_copies_of_an_image() -> None:
    answers = PICTURES | dict.fromkeys(URLS[:2], GONE)
    result, _, obtained, _ = downloaded([link(url) for url in URLS[:4]], [], answers, placeholder_links=3)
    assert obtained == [URLS[0], *URLS[2:4]]
    assert result.rejected == {"duplicate": 1}


def test_a_placeholder_that_the_reserve_reveals_is_taken_back() -> None:
    answers = PICTURES | dict.fromkeys((URLS[0], URLS[2], URLS[3]), GONE) | {URLS[1]: "not_found"}
    wanted, reserve = [link(url) for url in URLS[:2]], [link(url) for url in URLS[2:8]]
    result, _, obtained, turns = downloaded(wanted, reserve, answers, placeholder_links=3)
    assert turns == [URLS[:2], [URLS[2]], [URLS[3]], URLS[4:6]]
    assert (obtained, result.images.count, result.topped_up) == (URLS[4:6], 2, 2)
    assert result.rejected == {"not_found": 1, "placeholder": 3}


def test_where_all_links_lead_to_placeholders_the_class_is_empty() -> None:
    answers: dict[str, bytes | str] = dict.fromkeys(URLS, GONE)
    result, report, obtained, _ = downloaded([link(url) for url in URLS], [], answers, placeholder_links=5)
    assert (obtained, result.images.count, result.images.shards) == ([], 0, ())
    assert (result.rejected, len(report)) == ({"placeholder": 10}, 10)


def test_a_link_that_is_asked_for_twice_is_one_link() -> None:
    result, _, obtained, _ = downloaded([link(URLS[0])] * 5, [], {URLS[0]: GONE}, placeholder_links=3)
    assert obtained == [URLS[0]]
    assert result.rejected == {"duplicate": 4}


def of_classes(*classes: Sequence[bytes], placeholder_links: int) -> tuple[pa.Table, set[str]]:
    """The link reports of several classes, whose links lead to these images, and the sha256 of what was obtained."""
    reports, obtained = [], set[str]()
    for number, images in enumerate(classes):
        answers: dict[str, bytes | str] = {f"http://class{number}/{index}": image for index, image in enumerate(images)}
        _, report, _, _ = downloaded([link(url) for url in answers], [], answers, placeholder_links=placeholder_links)
        reports += report
        obtained |= {str(row["sha256"]) for row in report if row["outcome"] == "obtained"}
    return pa.Table.from_pylist(reports, REPORT), obtained


def test_a_picture_behind_links_of_several_classes_is_a_placeholder() -> None:
    own = list(PICTURES.values())
    copies = [gone("PNG", 256), gone("JPEG", 256), gone("WEBP", 200)]
    reports, obtained = of_classes(
        [own[0], GONE], [copies[0], own[1]], [GONE, own[2], copies[1]], [own[3], copies[2]], placeholder_links=5
    )
    found = placeholders_among(reports, 5)
    assert found == {sha256(GONE), *map(sha256, copies)} & obtained
    assert len(found) == 3  # GONE, the PNG and the WEBP: the JPEG of the third class is what GONE shows there
    assert placeholders_among(reports, 6) == set()
    assert reports.num_rows == 9


def test_links_of_a_class_that_gave_a_duplicate_or_a_placeholder_count_for_the_others() -> None:
    reports, _ = of_classes([GONE, GONE], [GONE, GONE, GONE], [GONE], placeholder_links=3)
    assert Counter(reports["outcome"].to_pylist()) == {"obtained": 2, "duplicate": 1, "placeholder": 3}
    assert placeholders_among(reports, 6) == {sha256(GONE)}
    assert placeholders_among(reports, 7) == set()


def test_one_link_that_several_classes_want_is_one_link() -> None:
    url = "http://x/popular"
    reports = [row for _ in range(6) for row in downloaded([link(url)], [], {url: GONE}, placeholder_links=5)[1]]
    assert placeholders_among(pa.Table.from_pylist(reports, REPORT), 5) == set()


def test_reports_without_a_picture_name_no_placeholder() -> None:
    reports, _ = of_classes([b"not an image"] * 9, placeholder_links=2)
    assert (reports.num_rows, placeholders_among(reports, 2)) == (9, set())


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-8, 8)), min_size=1, max_size=30), st.randoms())
def test_pictures_that_differ_a_little_are_one_in_whatever_order_they_come(
    shown: list[tuple[int, int]], random: Random
) -> None:
    """Each thumbnail shows one of six pictures, some levels brighter or darker as a whole."""
    pictures = np.random.default_rng(5).integers(40, 200, (6, 16 * 16 * 3))
    random.shuffle(shown)
    numbers = alike(np.stack([pictures[picture] + levels for picture, levels in shown]).astype(np.uint8))
    shows = [picture for picture, _ in shown]
    assert len(set(zip(numbers, shows, strict=True))) == len(set(numbers)) == len(set(shows))


def test_without_a_number_of_links_no_picture_is_a_placeholder() -> None:
    result, _, obtained, _ = downloaded([link(url) for url in URLS], [], dict.fromkeys(URLS, GONE))
    assert obtained == [URLS[0]]
    assert result.rejected == {"duplicate": 9}


def test_the_reserve_is_ranked_by_similarity_and_holds_nothing_twice() -> None:
    wanted = [link("w", similarity=0.9)]
    found = [
        link("low", similarity=0.1),
        link("w", similarity=0.9),
        link("text 1", similarity=math.nan, found_by="text_match/phrase/0"),
        link("high", similarity=0.8),
        link("text 2", similarity=math.nan, found_by="text_match/phrase/0"),
    ]
    assert [each.url for each in ranked_reserve(found, wanted)] == ["text 1", "text 2", "high", "low"]


def test_similarity_does_not_choose_among_random_draws() -> None:
    drawn = [link(url, similarity=number / 10, found_by="random") for number, url in enumerate(URLS)]
    assert [each.id for each in ranked_reserve(drawn, [])] == sorted(each.id for each in drawn)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::5db8:d70e", True),
        ("64:ff9b:1::5db8:d70e", False),
        ("2002:7f00:1::", False),
        ("2002:5db8:d70e::1", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2001:20::1", False),
        ("::93.184.215.14", False),
        ("100::1", False),
        ("2001:db8::1", False),
        ("3fff::1", False),
        ("5f00::1", False),
        ("fec0::1", False),
        ("ff0e::1", False),
        ("::", False),
        ("100.127.255.255", False),
        ("168.63.129.16", False),
        ("192.0.0.9", False),
        ("192.88.99.1", False),
        ("198.18.0.1", False),
        ("198.51.100.7", False),
        ("203.0.113.9", False),
        ("233.252.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("100.63.255.255", True),
        ("100.128.0.0", True),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize(
    ("port", "served"),
    [
        (80, True),
        (443, True),
        (8080, True),
        (49152, True),
        (22, False),
        (25, False),
        (0, False),
        (1023, False),
        (6379, False),
        (6667, False),
        (11211, False),
    ],
)
def test_only_ports_of_web_servers_are_connected_to(port: int, served: bool) -> None:
    assert is_web_port(port) is served


@pytest.mark.parametrize(
    ("headers", "refuses"),
    [
        (["noai"], True),
        (["nofollow, NoImageAI"], True),
        (["touchstone: noai"], True),
        (["nofollow", "noindex"], True),
        (["otherbot: noai"], False),
        (["nofollow"], False),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST"], False),
        ([], False),
    ],
)
def test_an_owners_opt_out_is_respected(headers: list[str], refuses: bool) -> None:
    assert opted_out(headers) is refuses
