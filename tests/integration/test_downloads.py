"""Downloads from a real web server, with the traps a link may lead into."""

import asyncio
import gzip
import socket
from collections.abc import Iterator, Sequence

import aiohttp
import numpy as np
import pytest
from aiohttp import AddrInfoType
from support.tiny_images import draw_shape
from support.web import ENDLESS, Page, Web, serving
from touchstone_retrieval.download.addresses import any_socket, public_socket
from touchstone_retrieval.download.fetching import CONNECTIONS_PER_HOST, Fetcher, Limits, open_session

PICTURE = draw_shape("bar", "red", np.random.default_rng(0))
LIMITS = Limits(timeout_seconds=5, retry_after_seconds=0, max_bytes=100_000)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving({"/picture": Page(PICTURE)}) as web:
        yield web


def fetched(urls: Sequence[str], limits: Limits = LIMITS, private_addresses: bool = True) -> list[bytes | str]:
    async def fetch() -> list[bytes | str]:
        async with open_session(private_addresses) as session:
            return [answer async for answer in Fetcher(session, limits).fetch_all(urls)]

    return asyncio.run(fetch())


def test_bytes_come_as_they_are_and_in_order(web: Web) -> None:
    count = 3 * CONNECTIONS_PER_HOST
    web.pages |= {f"/{number}": Page(str(number).encode()) for number in range(count)}
    assert fetched([web.url(f"/{number}") for number in range(count)]) == [str(n).encode() for n in range(count)]
    assert sorted(web.asked) == sorted(f"/{number}" for number in range(count))


@pytest.mark.parametrize(
    ("page", "outcome"),
    [
        (Page(status=404), "not_found"),
        (Page(status=410), "not_found"),
        (Page(status=403), "refused"),
        (Page(b"", 200), "missing_bytes"),
        (Page(PICTURE, headers={"X-Robots-Tag": "noai"}), "opted_out"),
        (Page(PICTURE, headers={"X-Robots-Tag": "otherbot: noai"}), PICTURE),
        (Page(b"x", headers={"Content-Length": "5000000000"}), "too_many_bytes"),
        (Page(status=302, headers={"Location": "/page"}), "bad_url"),
        (Page(status=302, headers={"Location": "/picture"}), PICTURE),
        (Page(status=302, headers={"Location": "/picture", "X-Robots-Tag": "noimageai"}), "opted_out"),
        (Page(status=302, headers={"Location": "file:///etc/passwd"}), "bad_url"),
        (Page(status=302, headers={"Location": "http://nowhere.invalid/"}), "unreachable"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:60],
)
def test_every_answer_has_its_outcome(web: Web, page: Page, outcome: bytes | str) -> None:
    web.pages["/page"] = page
    assert fetched([web.url("/page"), web.url("/picture")]) == [outcome, PICTURE]


def test_a_stream_without_end_is_cut_off_at_the_limit_of_bytes(web: Web) -> None:
    assert fetched([web.url(ENDLESS)]) == ["too_many_bytes"]
    assert 0 < web.sent < 20_000_000  # what buffers of both sides took; a stream of 5 GB would have been read on
    assert web.asked == [ENDLESS]


def test_a_stream_without_end_is_cut_off_at_the_limit_of_time(web: Web) -> None:
    patient = Limits(timeout_seconds=0.3, retries=0, max_bytes=10**12)
    assert fetched([web.url(ENDLESS), web.url("/picture")], patient) == ["timeout", PICTURE]


def test_packed_bytes_are_not_unpacked(web: Web) -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    web.pages["/packed"] = Page(packed, headers={"Content-Encoding": "gzip"})
    assert fetched([web.url("/packed")]) == [packed]


def test_a_server_that_recovers_is_asked_again_and_one_that_refuses_is_not(web: Web) -> None:
    web.pages |= {"/late": Page(PICTURE, failures=2), "/down": Page(failures=9), "/no": Page(status=403)}
    assert fetched([web.url("/late"), web.url("/down"), web.url("/no")]) == [PICTURE, "server_error", "refused"]
    assert [web.asked.count(path) for path in ("/late", "/down", "/no")] == [3, 3, 1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_a_link_into_the_private_network_is_not_followed(web: Web, host: str) -> None:
    port = web.address.rpartition(":")[2]
    assert fetched([f"http://{host}:{port}/picture"], private_addresses=False) == ["private_address"]
    assert web.asked == []


@pytest.mark.parametrize(
    "url", ["", "ftp://x/y", "file:///etc/passwd", "http://", "http://[broken", "http://2130706433/", "picture.jpg"]
)
def test_what_is_no_web_address_is_not_fetched(url: str) -> None:
    assert fetched([url]) == ["bad_url"]


def test_a_redirect_into_the_private_network_is_not_followed(web: Web) -> None:
    """The web server's own port stands for the internet: every other address is judged as always."""
    outside = int(web.address.rpartition(":")[2])

    def judged_socket(address: AddrInfoType) -> socket.socket:
        return (any_socket if address[4][1] == outside else public_socket)(address)

    async def fetch(url: str) -> bytes | str:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=judged_socket)) as session:
            return await Fetcher(session, LIMITS).fetch(url)

    with serving({"/picture": Page(PICTURE)}) as inside:
        web.pages["/page"] = Page(status=302, headers={"Location": inside.url("/picture")})
        assert asyncio.run(fetch(web.url("/page"))) == "private_address"
        assert (web.asked, inside.asked) == (["/page"], [])
