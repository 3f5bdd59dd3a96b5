"""Keeps the node alive in the database, from a thread of its own.

A busy event loop must not cost the leases.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import anyio
import anyio.to_thread
import structlog

from orchestrator.model.errors import InsulaError, NodeNameInUse, Unavailable
from orchestrator.store.connect import DRIVER_ERRORS, Connection, Target, connect
from orchestrator.store.control import nodes
from supervisors.decide import Failure, classify
from supervisors.guard import telling

LOCK_SECONDS = 5.0
"""How long PostgreSQL may take to notice that the process before us is gone."""

LOCK_PAUSE = 0.05
CONNECT_SECONDS = 5.0

_PASSES = (Failure.INFRASTRUCTURE, Failure.PERMANENT)
"""No connection, or no right to one: the node may be let in again, and its row expires if not."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """One incarnation of this daemon; the times are in seconds."""

    id: UUID
    name: str
    expiry: float
    renewal: float


class NodeKeeper:
    """Registers the node, holds the lock of its name, renews its row, says good-bye at the end."""

    def __init__(self, node: Node, target: Target) -> None:
        self._node = node
        self._target = target
        self._registered: Future[int] = Future()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, name="insula-keeper", daemon=True)
        self._locked = True
        self._failure: BaseException | None = None
        self._poke: Callable[[], object] = lambda: None

    async def start(self) -> None:
        """Return when the node is registered.

        Raises NodeNameInUse, or why the database can not be had.
        """
        self._thread.start()
        await anyio.to_thread.run_sync(self._registered.result)

    async def watch(self) -> None:
        """Return when the node has left; raises what ended its keeping before that."""
        await anyio.to_thread.run_sync(self._ended.wait, abandon_on_cancel=True)
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """Remove the node's row and return."""
        self._stop.set()
        self._poke()
        await anyio.to_thread.run_sync(self._ended.wait)

    def _main(self) -> None:
        try:
            anyio.run(self._keep, backend_options={"use_uvloop": False})
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for this thread
            self._fail(telling(error))
        finally:
            self._ended.set()

    def _fail(self, error: BaseException) -> None:
        if self._registered.done():
            self._failure = error
        else:
            self._registered.set_exception(error)

    async def _keep(self) -> None:
        stopping = anyio.Event()
        loop = asyncio.get_running_loop()
        self._poke = lambda: _call_soon(loop, stopping.set)
        connection = await self._enter()
        self._registered.set_result(1)
        while not self._stop.is_set():
            with anyio.move_on_after(self._node.renewal):
                await stopping.wait()
            if not self._stop.is_set():
                connection = await self._renew(connection)
        await self._leave(connection)

    async def _enter(self) -> Connection:
        connection = await self._connect()
        with anyio.move_on_after(LOCK_SECONDS):
            # The database tells nobody that the lock is free.
            while not await nodes.lock(connection, self._node.name):  # noqa: ASYNC110 - see above
                await anyio.sleep(LOCK_PAUSE)
            await nodes.register(connection, self._node.id, self._node.name, self._lifetime)
            await nodes.bury(connection, self._node.id, self._node.name)
            return connection
        await connection.close()
        raise NodeNameInUse(
            f"another daemon serves this database as node {self._node.name!r}",
            hint="give each daemon its own [node] name",
        )

    async def _renew(self, connection: Connection) -> Connection:
        """Renew the row; without an answer, connect anew and try again at the next turn."""
        try:
            if connection.is_closed():
                connection = await self._connect()
                self._locked = False
            with anyio.fail_after(self._node.renewal):
                if not self._locked:
                    # The session that we lost may hold it still, as far as the server knows.
                    self._locked = await nodes.lock(connection, self._node.name)
                alive = await nodes.renew(connection, self._node.id, self._lifetime)
        except (Unavailable, *DRIVER_ERRORS) as error:
            connection.terminate()
            if classify(error) not in _PASSES:
                raise
            log.warning("node.renewal_failed", error=str(error))
            return connection
        if not alive:
            connection.terminate()
            raise NodeNameInUse(
                f"this node was declared dead: another daemon serves as {self._node.name!r} now",
                hint="give each daemon its own [node] name",
            )
        return connection

    async def _leave(self, connection: Connection) -> None:
        """Best effort: a row that stays expires by itself."""
        try:
            with anyio.fail_after(CONNECT_SECONDS):
                if not connection.is_closed():
                    await nodes.leave(connection, self._node.id)
                    await connection.close()
        except (InsulaError, *DRIVER_ERRORS) as error:
            log.warning("node.leave_failed", error=str(error))

    async def _connect(self) -> Connection:
        return await connect(
            self._target,
            application_name=f"insula {self._node.name} keeper",
            timeout=CONNECT_SECONDS,
        )

    @property
    def _lifetime(self) -> timedelta:
        return timedelta(seconds=self._node.expiry)


def _call_soon(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop has ended already, and so has whoever waited in it
        loop.call_soon_threadsafe(act)
