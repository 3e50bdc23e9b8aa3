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
from support.web import ENDLESS, SLOW_BODY, SLOW_HEADERS, Page, Web, serving
from touchstone_contracts.sources import AllowedSources
from touchstone_retrieval.download.addresses import any_socket, public_socket
from touchstone_retrieval.download.fetching import CONNECTIONS_PER_HOST, Fetcher, Limits, open_session

PICTURE = draw_shape("bar", "red", np.random.default_rng(0))
ONCE = Limits(timeout_seconds=5, retries=0)
NOT_FOLLOWED = ("private_address", "bad_url", "unreachable", "timeout")
ANYWHERE = AllowedSources(hosts=("*",))
LIMITS = Limits(timeout_seconds=5, retry_after_seconds=0, max_bytes=100_000)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving({"/picture": Page(PICTURE)}) as web:
        yield web


def fetched(urls: Sequence[str], limits: Limits = LIMITS, private_addresses: bool = True) -> list[bytes | str]:
    async def fetch() -> list[bytes | str]:
        async with open_session(private_addresses, ANYWHERE) as session:
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


@pytest.mark.parametrize("path", [SLOW_HEADERS, SLOW_BODY])
def test_a_server_that_sends_a_byte_now_and_then_is_cut_off_at_the_limit_of_time(web: Web, path: str) -> None:
    patient = Limits(timeout_seconds=0.5, retries=0)
    assert fetched([web.url(path), web.url("/picture")], patient) == ["timeout", PICTURE]


def test_packed_bytes_are_not_unpacked(web: Web) -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    web.pages["/packed"] = Page(packed, headers={"Content-Encoding": "gzip"})
    assert fetched([web.url("/packed")]) == [packed]


def test_a_server_that_recovers_is_asked_again_and_one_that_refuses_is_not(web: Web) -> None:
    web.pages |= {"/late": Page(PICTURE, failures=2), "/down": Page(failures=9), "/no": Page(status=403)}
    assert fetched([web.url("/late"), web.url("/down"), web.url("/no")]) == [PICTURE, "server_error", "refused"]
    assert [web.asked.count(path) for path in ("/late", "/down", "/no")] == [3, 3, 1]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST.", "127.1", "0177.0.0.1", "0x7f000001", "0x7f.0.0.0x1", "0",
        "017700000001", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]",
        "[::127.0.0.1]", "\N{FULLWIDTH DIGIT ONE}27.0.0.1",
    ],
)  # fmt: skip
def test_a_link_into_the_private_network_is_not_followed(web: Web, host: str) -> None:
    port = web.address.rpartition(":")[2]
    # Resolvers differ in which notations they take; none may lead to a connection.
    assert fetched([f"http://{host}:{port}/picture"], ONCE, private_addresses=False)[0] in NOT_FOLLOWED
    assert web.asked == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("port", [1, 22, 25, 110, 1023, 6379, 6667, 11211])
def test_a_link_to_the_port_of_another_service_is_not_followed(port: int, scheme: str) -> None:
    assert fetched([f"{scheme}://127.0.0.1:{port}/"], ONCE) == ["bad_url"]


@pytest.mark.parametrize("link", ["http://name:secret@{}/picture", "http://name@{}/picture", "http://@{}/picture"])
def test_a_link_with_credentials_is_not_followed(web: Web, link: str) -> None:
    where = web.address.removeprefix("http://")
    web.pages["/page"] = Page(status=302, headers={"Location": link.format(where).replace("@", "x:y@")})
    assert fetched([link.format(where), web.url("/page"), web.url("/picture")]) == ["bad_url", "bad_url", PICTURE]
    assert web.asked.count("/picture") == 1


@pytest.mark.parametrize("location", ["ftp://x/y", "javascript:0", "data:image/png;base64,AA", "http://127.0.0.1:22/",
                                      "//[::1", "http://"])  # fmt: skip
def test_a_redirect_to_what_is_no_page_is_not_followed(web: Web, location: str) -> None:
    web.pages["/page"] = Page(status=302, headers={"Location": location})
    assert fetched([web.url("/page"), web.url("/picture")], ONCE) == ["bad_url", PICTURE]


def test_headers_without_end_are_cut_off(web: Web) -> None:
    web.pages["/many"] = Page(PICTURE, headers={f"X-{number}": "y" * 100 for number in range(10_000)})
    web.pages["/long"] = Page(PICTURE, headers={"X-Long": "y" * 1_000_000})
    assert fetched([web.url("/many"), web.url("/long"), web.url("/picture")], ONCE) == [
        "unreachable", "unreachable", PICTURE,
    ]  # fmt: skip


def test_a_url_longer_than_any_pages_is_not_fetched(web: Web) -> None:
    assert fetched([web.url("/" + "x" * 5000)]) == ["bad_url"]
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
