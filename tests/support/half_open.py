"""A TCP proxy that misbehaves on demand, between a client and a server that is well.

with Proxy(("127.0.0.1", 6379)) as proxy:
    client = connect(proxy.address)
    proxy.swallow()   # the connection stays open, and nothing is answered
    proxy.pass_on()   # new connections work again
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

LOOPBACK = "127.0.0.1"
CHUNK = 65_536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time. The other side sees a reset and no orderly end."""

Target = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


@dataclass(frozen=True)
class Manner:
    """How bytes are treated from now on."""

    swallows: bool = False
    refuses: bool = False
    delay_seconds: float = 0.0
    """Before each chunk of the server's answers is passed on."""
    bytes_per_second: float | None = None
    """That are taken from the client."""
    longest_answer: int | None = None
    """Bytes that a connection gets from the server in all; it is reset then."""
    instead: bytes | None = None
    """The answer to whatever is asked; the server hears nothing of it."""


@dataclass
class Proxy:
    """Listens on a free port of the loopback while its block lasts."""

    target: Target
    accepted: int = 0
    swallowed: int = 0
    """Bytes that came and went nowhere."""
    _manner: Manner = Manner()
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _links: set["_Link"] = field(default_factory=set)
    _listener: socket.socket = field(init=False)

    def __enter__(self) -> "Proxy":
        self._listener = socket.create_server((LOOPBACK, 0))
        # Of each connection, too: what is taken slowly is soon sent slowly.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * CHUNK)
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # A thread that waits in accept() is woken by a shutdown, not by a close.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._change(Manner(refuses=True))

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def pass_on(self) -> None:
        """Everything, at once. A connection that was open while bytes were swallowed stays silent for ever."""
        self._change(Manner())

    def swallow(self) -> None:
        """Connections are accepted and stay open; what either side sends or closes, the other never hears of."""
        self._change(Manner(swallows=True))

    def cut(self) -> None:
        """Every connection is reset, and so is every new one."""
        self._change(Manner(refuses=True))

    def delay(self, seconds: float) -> None:
        self._change(Manner(delay_seconds=seconds))

    def slow_down(self, bytes_per_second: float) -> None:
        """What clients send; answers come as fast as ever."""
        self._change(Manner(bytes_per_second=bytes_per_second))

    def truncate(self, after: int) -> None:
        """Every connection is reset once it has had so many bytes from the server, counted from its beginning."""
        self._change(Manner(longest_answer=after))

    def answer(self, instead: bytes) -> None:
        """Whatever is asked is answered with these bytes, and the connection ends."""
        self._change(Manner(instead=instead))

    def wait_until(self, happened: Callable[["Proxy"], bool], within: float = 10.0) -> None:
        """Until something has come through, e.g. `proxy.wait_until(lambda p: p.swallowed > 0)`."""
        with self._changed:
            assert self._changed.wait_for(lambda: happened(self), within), f"did not happen within {within:g} seconds"

    def _change(self, manner: Manner) -> None:
        with self._changed:
            self._manner = manner
            links = list(self._links)
            for link in links:
                link.silent = link.silent or manner.swallows
            self._changed.notify_all()
        for link in links if manner.refuses else ():
            link.close(reset=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            link = _Link(self, client)
            with self._changed:
                self.accepted += 1
                refused = self._manner.refuses
                if not refused:
                    self._links.add(link)
                self._changed.notify_all()
            if refused:
                link.close(reset=True)
            else:
                threading.Thread(target=link.open, name="proxy link", daemon=True).start()

    def manner(self) -> Manner:
        with self._changed:
            return self._manner

    def lost(self, count: int) -> None:
        with self._changed:
            self.swallowed += count
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Ends early when the manner changes."""
        with self._changed:
            before = self._manner
            self._changed.wait_for(lambda: self._manner is not before, seconds)

    def forget(self, link: "_Link") -> None:
        with self._changed:
            self._links.discard(link)


class _Link:
    """One client's connection and, unless it is swallowed from its beginning, ours to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy, self._client = proxy, client
        self._server: socket.socket | None = None
        self.silent = False
        """It may have lost bytes, so nothing sensible could follow them."""
        self._answered = 0

    def open(self) -> None:
        if not self._is_silent():
            try:
                self._server = _connected(self._proxy.target)
            except OSError:
                self.close(reset=True)
                return
            if self._proxy.manner().refuses:  # meanwhile
                self.close(reset=True)
                return
            threading.Thread(target=self._answer, args=(self._server,), name="proxy answers", daemon=True).start()
        self._ask()

    def _ask(self) -> None:
        """From the client to the server."""
        with suppress(OSError):
            while data := self._client.recv(CHUNK):
                if speed := self._proxy.manner().bytes_per_second:
                    self._proxy.pause(len(data) / speed)
                if self._is_silent():
                    self._proxy.lost(len(data))
                elif (instead := self._proxy.manner().instead) is not None:
                    self._client.sendall(instead)
                    break
                elif self._server is not None:
                    self._server.sendall(data)
        self.close()

    def _answer(self, server: socket.socket) -> None:
        """From the server to the client."""
        with suppress(OSError):
            while data := server.recv(CHUNK):
                if delay := self._proxy.manner().delay_seconds:
                    self._proxy.pause(delay)
                if self._is_silent():
                    self._proxy.lost(len(data))
                    continue
                longest = self._proxy.manner().longest_answer
                allowed = data if longest is None else data[: max(0, longest - self._answered)]
                self._client.sendall(allowed)
                self._answered += len(allowed)
                if longest is not None and self._answered >= longest:
                    self.close(reset=True)
                    return
        if not self._is_silent():
            self.close()

    def _is_silent(self) -> bool:
        self.silent = self.silent or self._proxy.manner().swallows
        return self.silent

    def close(self, *, reset: bool = False) -> None:
        self._proxy.forget(self)
        for side in (self._client, self._server):
            if side is not None:
                _end(side, reset)


def _connected(target: Target) -> socket.socket:
    if not isinstance(target, str):
        return socket.create_connection(target, timeout=None)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(target)
    return connection


def _end(side: socket.socket, reset: bool) -> None:
    with suppress(OSError):
        if reset:
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        # Wakes the thread that reads it, or the close would wait for it; SHUT_RD alone tells the other side nothing.
        side.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
    side.close()
