"""A proxy that speaks TLS to clients and plainly to a server behind it: the servers from wheels speak none."""

import asyncio
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

LOOPBACK = "127.0.0.1"
CHUNK = 65_536
POSTGRES_ASKS = bytes((0, 0, 0, 8, 4, 210, 22, 47))
"""SSLRequest of Postgres' protocol: sent in the clear before TLS begins."""

Target = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


@dataclass
class TlsProxy:
    """Listens on a free port of the loopback while its block lasts."""

    target: Target
    certificate: ssl.SSLContext
    postgres: bool = False
    """Whether the client asks for TLS first, as Postgres' clients do."""
    plain: int = 0
    """Connections that never came to speak TLS."""
    spoken: int = 0
    """Connections over TLS."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _server: asyncio.Server = field(init=False)

    def __enter__(self) -> "TlsProxy":
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, LOOPBACK, 0))
        self._thread = threading.Thread(target=self._loop.run_forever, name="tls", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[operator]  # this is one
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.postgres:
                if await reader.readexactly(len(POSTGRES_ASKS)) != POSTGRES_ASKS:
                    raise ssl.SSLError("asked for no TLS")
                writer.write(b"S")
                await writer.drain()
            await writer.start_tls(self.certificate)
        except (OSError, asyncio.IncompleteReadError):
            self.plain += 1
            writer.close()
            return
        self.spoken += 1
        await self._pass_on(reader, writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(self.target, str):
            answers, questions = await asyncio.open_unix_connection(self.target)
        else:
            answers, questions = await asyncio.open_connection(*self.target)
        await asyncio.gather(_copy(reader, questions), _copy(answers, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
