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

from orchestrator.engine.pulse import Pulse
from orchestrator.model.errors import InsulaError, NodeNameInUse, Unavailable
from orchestrator.store.connect import DRIVER_ERRORS, Connection, Target, connect
from orchestrator.store.control import nodes
from supervisors.decide import Failure, classify
from supervisors.guard import telling
from supervisors.naming import claim_name
from supervisors.standing import Standing

RETRY_SECONDS = 0.5
"""How soon a renewal that failed is tried again: nobody else probes the database meanwhile."""

COALESCE_SECONDS = 0.2
"""Those who doubt at the same time are answered together."""

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

    def __init__(self, node: Node, target: Target, standing: Standing | None = None) -> None:
        self.standing = standing or Standing(node.expiry)
        self._node = node
        self._target = target
        self._registered: Future[int] = Future()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, name="insula-keeper", daemon=True)
        self._locked = True
        self._failure: BaseException | None = None
        self._doubted = False
        self._poked: Pulse
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
        loop = asyncio.get_running_loop()
        self._poked = Pulse()
        self._poke = lambda: _call_soon(loop, self._poked.beat)
        connection = await self._enter()
        self.standing.answer(self._doubt)
        self._registered.set_result(1)
        while not self._stop.is_set():
            await self._pause()
            if not self._stop.is_set():
                connection = await self._renew(connection)
        await self._leave(connection)

    def _doubt(self) -> None:
        if self.standing.outage is None:
            self._doubted = True
            self._poke()

    async def _pause(self) -> None:
        """Wait for the time of the next renewal, or until somebody wants one now."""
        if self.standing.outage is not None:
            await self._rest(min(RETRY_SECONDS, self._node.renewal))
            return
        if not self._doubted:
            await self._rest(self._node.renewal)
        if self._doubted:
            await anyio.sleep(COALESCE_SECONDS)
        self._doubted = False

    async def _rest(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._poked.wait()

    async def _enter(self) -> Connection:
        """Take the name and register under it, and declare those who had it before us dead."""
        connection = await self._connect()
        try:
            self._locked = await claim_name(connection, self._node.name, patience=self._node.expiry)
            asked = self.standing.now()
            await nodes.register(connection, self._node.id, self._node.name, self._lifetime)
            await nodes.bury(connection, self._node.id, self._node.name)
        except BaseException:
            connection.terminate()
            raise
        self.standing.renewed(asked)
        return connection

    async def _renew(self, connection: Connection) -> Connection:
        """Renew the row; without an answer, try again at the next turn, anew."""
        try:
            connection = await self._renew_over(connection)
        except (Unavailable, *DRIVER_ERRORS) as error:
            connection.terminate()
            if classify(error) not in _PASSES:
                raise
            log.warning("node.renewal_failed", error=str(error) or type(error).__name__)
            self.standing.lost(str(error) or "no answer in time")
        return connection

    async def _renew_over(self, connection: Connection) -> Connection:
        """Renew the row; a connection that was cut is replaced once, which is no outage yet."""
        if not connection.is_closed():
            try:
                await self._renew_once(connection)
            except TimeoutError:
                raise
            except (Unavailable, *DRIVER_ERRORS) as error:
                if classify(error) is not Failure.INFRASTRUCTURE:
                    raise
                log.warning("node.connection_lost", error=str(error) or type(error).__name__)
                connection.terminate()
            else:
                return connection
        connection = await self._connect()
        self._locked = False
        try:
            await self._renew_once(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _renew_once(self, connection: Connection) -> None:
        with anyio.fail_after(self._node.renewal):
            if not self._locked:
                # The session that we lost may hold it still, as far as the server knows.
                self._locked = await nodes.lock(connection, self._node.name)
            asked = self.standing.now()
            alive = await nodes.renew(connection, self._node.id, self._lifetime)
        if not alive:
            connection.terminate()
            raise NodeNameInUse(
                f"this node was declared dead: another daemon serves as {self._node.name!r} now, "
                "or the installation goes by another key",
                hint="give each daemon its own [node] name, and the same installation key",
            )
        self.standing.renewed(asked)

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
            settings=nodes.SESSION,
        )

    @property
    def _lifetime(self) -> timedelta:
        return timedelta(seconds=self._node.expiry)


def _call_soon(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop has ended already, and so has whoever waited in it
        loop.call_soon_threadsafe(act)
