"""Tells of requests without a valid token: a line at once, and then at most one a minute."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog
from litestar.connection import ASGIConnection

QUIET_SECONDS = 60.0

log = structlog.get_logger(__name__)


class Refusals:
    """Counts what was refused since the last line, which nobody can make many of."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._count = 0
        self._next = clock()

    def count(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Count a request, and tell of all since the last line when it is time; never a token."""
        self._count += 1
        now = self._clock()
        if now < self._next:
            return
        peer = connection.client.host if connection.client else "unknown"
        log.warning("http.unauthenticated", count=self._count, last_from=peer)
        self._count, self._next = 0, now + QUIET_SECONDS
