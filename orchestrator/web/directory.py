"""The tenants as a web application knows them: read from the daemon, kept for a while.

All of them are read at once, so a name that nobody has costs no request of its own: however many a
visitor makes up, the daemon is asked once a second at most.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping

import anyio

from orchestrator.client.client import Client, SyncClient
from orchestrator.model.api import TenantSummary
from orchestrator.model.errors import Unavailable
from orchestrator.web.resolver import Names, Tenant, decide

FRESH_SECONDS = 10.0
"""For so long what was read holds: a tenant that was disabled is refused after it at the latest."""

STALE_SECONDS = 300.0
"""For so long it holds while the daemon can not be asked; then every request is refused: 503."""

LOOK_AGAIN_SECONDS = 1.0
"""How soon it is read again for a name that was not there, or after it could not be read."""


class Kept:
    """What was read and when, and so whether to read again; `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._names = Names()
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._error: Unavailable | None = None

    def wants(self, asked: Iterable[str]) -> bool:
        """Tell whether to read again before `asked` are looked up."""
        if self._tried_at is not None and self._younger(self._tried_at, LOOK_AGAIN_SECONDS):
            return False
        if self._read_at is None or not self._younger(self._read_at, FRESH_SECONDS):
            return True
        return any(self._names.get(name) is None for name in asked)

    def read(self, tenants: Iterable[TenantSummary]) -> None:
        """Keep what was read."""
        self._names = Names(tenants)
        self._read_at = self._tried_at = self._clock()
        self._error = None

    def failed(self, error: Unavailable) -> None:
        """Note why it could not be read."""
        self._tried_at = self._clock()
        self._error = error

    @property
    def names(self) -> Names:
        """Return the tenants; raises why they could not be read, once that is long ago."""
        fresh = self._read_at is not None and self._younger(self._read_at, STALE_SECONDS)
        if self._error is not None and not fresh:
            raise self._error
        return self._names

    def _younger(self, moment: float, seconds: float) -> bool:
        return self._clock() - moment < seconds


class Directory:
    """Reads the tenants with an asynchronous client; one for all requests of the application."""

    def __init__(self, client: Client, *, kept: Kept | None = None) -> None:
        self._client = client
        self._kept = kept or Kept()
        self._reading = anyio.Lock()

    async def find(self, named: Mapping[str, str]) -> Tenant:
        """Return the tenant that all of `named`, by their sources, lead to.

        Raises what `decide` raises, and Unavailable when the tenants can not be read for long.
        """
        asked = tuple(named.values())
        if self._kept.wants(asked):
            async with self._reading:
                if self._kept.wants(asked):  # else somebody has read it while we waited
                    await self._read()
        return decide(named, self._kept.names)

    async def _read(self) -> None:
        try:
            self._kept.read(await self._client.tenants())
        except Unavailable as error:
            self._kept.failed(error)


class SyncDirectory:
    """Reads the tenants with a synchronous client; threads may share it."""

    def __init__(self, client: SyncClient, *, kept: Kept | None = None) -> None:
        self._client = client
        self._kept = kept or Kept()
        self._reading = threading.Lock()

    def find(self, named: Mapping[str, str]) -> Tenant:
        """Return the tenant that all of `named` lead to; raises as `Directory.find`."""
        asked = tuple(named.values())
        if self._kept.wants(asked):
            with self._reading:
                if self._kept.wants(asked):
                    self._read()
        return decide(named, self._kept.names)

    def _read(self) -> None:
        try:
            self._kept.read(self._client.tenants())
        except Unavailable as error:
            self._kept.failed(error)
