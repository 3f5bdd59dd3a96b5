"""A way to the server that breaks at a chosen statement."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import msgspec

from orchestrator.store.connect import Target

_STATEMENTS = (b"Q", b"E")
_LENGTH = struct.Struct("!I")

When = Literal["before", "after"]


class CuttingProxy:
    """Forwards one protocol message at a time; counts the connections asked for, and statements.

    At statement number `cut_at`, from 1, both sides lose the connection: `before` the server sees
    the statement, or `after` it was sent on, so that the client never learns what became of it.
    `for_good` all connections end there and none can be had again, as if the client had died.
    """

    def __init__(
        self,
        target: Target,
        *,
        cut_at: int | None = None,
        when: When = "before",
        for_good: bool = False,
    ) -> None:
        self._target = target
        self._cut_at = cut_at
        self._when = when
        self._for_good = for_good
        self._ends: list[asyncio.StreamWriter] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.connections = 0
        self.statements = 0
        self.port = 0
        self.absent = False
        """True turns everyone away, as if there were no server."""

    def go_away(self) -> None:
        """End all connections and turn away who comes, as a server that has died."""
        self.absent = True
        for end in self._ends:
            end.transport.abort()

    def come_back(self) -> None:
        """Let in again who comes."""
        self.absent = False

    def freeze(self) -> None:
        """Pass nothing on from now on, as a server that is stopped or out of reach."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Pass on what came meanwhile, and what comes."""
        self._flowing.set()

    @property
    def target(self) -> Target:
        """The same login and database, through the proxy."""
        return msgspec.structs.replace(
            self._target, hosts=f"127.0.0.1:{self.port}", options=(("sslmode", "disable"),)
        )

    @property
    def has_cut(self) -> bool:
        """True once the chosen statement came."""
        return self._cut_at is not None and self.statements >= self._cut_at

    @asynccontextmanager
    async def running(self) -> AsyncIterator[CuttingProxy]:
        """Listen as long as the block lasts."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.thaw()
            listener.close()

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.absent or (self._for_good and self.has_cut):
            answer.transport.abort()
            return
        server, ask = await self._open()
        self._ends += [ask, answer]
        back = asyncio.create_task(copy_stream(server, answer))
        try:
            await self._forward(client, ask)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done
        finally:
            back.cancel()
            for end in self._ends if self._for_good and self.has_cut else (ask, answer):
                end.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        options = dict(self._target.options)
        port = options.get("port", "5432")
        if host := options.get("host"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        name, _, given = self._target.hosts.partition(":")
        return await asyncio.open_connection(name, int(given or port))

    async def _forward(self, client: asyncio.StreamReader, ask: asyncio.StreamWriter) -> None:
        # The first message, who connects to what, has no type.
        size = await client.readexactly(_LENGTH.size)
        await self._flowing.wait()
        ask.write(size + await client.readexactly(_LENGTH.unpack(size)[0] - _LENGTH.size))
        while True:
            kind, size = await client.readexactly(1), await client.readexactly(_LENGTH.size)
            message = kind + size
            message += await client.readexactly(_LENGTH.unpack(size)[0] - _LENGTH.size)
            await self._flowing.wait()
            cut = self._is_last(kind)
            if cut and self._when == "before":
                return
            ask.write(message)
            await ask.drain()
            if cut:
                # A statement is only run once the client's message has ended with a Sync.
                ask.write(b"" if kind == b"Q" else b"S" + _LENGTH.pack(_LENGTH.size))
                await ask.drain()
                ask.write_eof()
                return

    def _is_last(self, kind: bytes) -> bool:
        if kind in _STATEMENTS:
            self.statements += 1
        return kind in _STATEMENTS and self.statements == self._cut_at


async def copy_stream(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass on all that comes, until either side has ended."""
    try:
        while chunk := await source.read(65536):
            sink.write(chunk)
            await sink.drain()
    except ConnectionError:
        return
    finally:
        sink.transport.abort()
