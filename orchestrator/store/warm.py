"""Connections that are kept for the next verb: a new backend reads the catalogs before it works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec

from orchestrator.store.connect import (
    CLOSE_SECONDS,
    DRIVER_ERRORS,
    Connection,
    Target,
    connect,
    translated,
)

KEPT = 2
"""So many are kept, of all databases together: each holds a place of the server's."""

KEPT_SECONDS = 10.0
USES = 50
"""How long one is kept that nobody wants, and how often it is lent: a backend remembers every table
that it has touched."""

SETTINGS = {
    # A statement that nobody waits for any more ends soon.
    "client_connection_check_interval": "1s",
}


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection is for, and where it leads to.

    One statement may take `statement_ms`, 0 stands for no limit.
    """

    what: str
    target: Target
    lock_timeout: str
    statement_ms: int = 0

    async def connect(self) -> Connection:
        """Open a connection for this errand; DatabaseUnavailable or DatabaseRefused."""
        settings = {
            "lock_timeout": self.lock_timeout,
            "statement_timeout": str(self.statement_ms),
        }
        return await connect(
            self.target,
            application_name=f"insula {self.what}",
            settings={**SETTINGS, **settings},
        )


class _Kept(msgspec.Struct, frozen=True, eq=False):
    """A connection that waits for the next errand of its kind, until the timer ends it."""

    errand: Errand
    connection: Connection
    uses: int
    timer: asyncio.TimerHandle


class WarmConnections:
    """Lends connections under the admin login, each to one verb at a time, as if it were new.

    One is kept only after a verb that ended well, for another errand of the same kind: what that
    one finds is what the login began with. The session forgets everything else, role, settings,
    prepared statements, temporary tables, locks, what it listened to, but not the catalogs.
    """

    def __init__(self) -> None:
        self._kept: list[_Kept] = []
        self._open = True

    @asynccontextmanager
    async def lend(self, errand: Errand, *, keep: bool = True) -> AsyncIterator[Connection]:
        """Lend a connection; DatabaseUnavailable or DatabaseRefused, also when it is lost.

        Without `keep` it is closed at the end: one to a database that may be dropped would be in
        the way of that.
        """
        connection, uses = self._take(errand) or (await errand.connect(), 1)
        as_new = False
        try:
            with translated(f"{errand.what} can not be had"):
                yield connection
                as_new = keep and uses < USES and await _forget(connection)
        finally:
            if as_new and self._open:
                self._keep(errand, connection, uses)
            else:
                await _close(connection)

    async def close(self) -> None:
        """Close those that are kept, and keep none from now on."""
        self._open = False
        while self._kept:
            await _close(self._drop(self._kept[0]).connection)

    def _take(self, errand: Errand) -> tuple[Connection, int] | None:
        """Return one that is kept for this and still there, and how often it is lent with this."""
        for kept in [each for each in self._kept if each.errand == errand]:
            self._drop(kept)
            if not kept.connection.is_closed():
                return kept.connection, kept.uses + 1
        return None

    def _keep(self, errand: Errand, connection: Connection, uses: int) -> None:
        while len(self._kept) >= KEPT:
            self._drop(self._kept[0]).connection.terminate()
        timer = asyncio.get_running_loop().call_later(KEPT_SECONDS, self._expire, connection)
        self._kept.append(_Kept(errand, connection, uses, timer))

    def _expire(self, connection: Connection) -> None:
        for kept in [each for each in self._kept if each.connection is connection]:
            self._drop(kept).connection.terminate()

    def _drop(self, kept: _Kept) -> _Kept:
        self._kept.remove(kept)
        kept.timer.cancel()
        return kept


async def _forget(connection: Connection) -> bool:
    """Have a session forget everything but what it knows of the catalogs; tell whether it could.

    The verb has ended: who waits for it must not wait for a server that is silent now.
    """
    if connection.is_closed() or connection.is_in_transaction():
        return False
    try:
        with anyio.fail_after(CLOSE_SECONDS):
            await connection.execute("DISCARD ALL")
            # The driver keeps account of what is prepared there, which is nothing now.
            await connection.reload_schema_state()
    except DRIVER_ERRORS:
        return False
    return True


async def _close(connection: Connection) -> None:
    with anyio.move_on_after(CLOSE_SECONDS, shield=True):
        await connection.close()
    connection.terminate()
