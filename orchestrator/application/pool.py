"""Connections that are lent to one caller at a time, and rest for their tenant in between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio

from orchestrator.store.connect import Connection
from orchestrator.store.tenant.owned import end
from orchestrator.store.tenant.places import Places


class Pool:
    """At most `size` connections, over all tenants; those that rest stay for their tenant.

    `tidy` makes one fit for the next caller, or closes it; without it the caller does.
    """

    def __init__(
        self,
        size: int,
        connect: Callable[[str], Awaitable[Connection]],
        *,
        what: str,
        patience: float,
        tidy: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._size = size
        self._connect = connect
        self._tidy = tidy
        self._patience = patience
        self._places = Places(size, what=what)
        self._resting: OrderedDict[Connection, str] = OrderedDict()

    @asynccontextmanager
    async def lend(self, tenant: str) -> AsyncIterator[Connection]:
        """Yield a connection of a tenant's that nobody else has; DatabaseUnavailable."""
        place = await self._places.take(f"tenant {tenant!r}", seconds=self._patience)
        try:
            connection = await self._connection(tenant)
            try:
                yield connection
            finally:
                if self._tidy is not None:
                    with anyio.CancelScope(shield=True):
                        await self._tidy(connection)
                if not connection.is_closed():
                    self._resting[connection] = tenant
        finally:
            place.give_back()

    async def close(self) -> None:
        """Close what rests."""
        while self._resting:
            await end(self._resting.popitem()[0])

    async def _connection(self, tenant: str) -> Connection:
        for connection in [each for each, of in self._resting.items() if of == tenant]:
            del self._resting[connection]
            if not connection.is_closed():
                return connection
        # Those in use have places of their own, so only what rests can be too much.
        while self._resting and len(self._resting) + self._places.used > self._size:
            await end(self._resting.popitem(last=False)[0])
        return await self._connect(tenant)
