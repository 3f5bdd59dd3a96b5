"""Opens connections under a role of one tenant, and has the role mended when its login fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import anyio
import structlog

from orchestrator.model.errors import DatabaseRefused
from orchestrator.store.connect import Connection, Target, connect

log = structlog.get_logger(__name__)

_SPOILT = ("28P01", "28000")
"""SQLSTATE of a login with another password than the role's, or of a role that may not log in."""


class Login:
    """One role's way in; `repair` provisions the tenant again, whatever its row says.

    A role may be changed behind our back: its password, its LOGIN. That is mended once, and again
    only after a login that went well.
    """

    def __init__(
        self,
        target: Target,
        *,
        application_name: str,
        settings: Mapping[str, str],
        repair: Callable[[], Awaitable[object]] | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._target = target
        self._name = application_name
        self._settings = settings
        self._timeout = timeout
        self._repair = repair
        self._mending = anyio.Lock()
        self._may_repair = repair is not None
        self._repairs = 0

    async def connect(self) -> Connection:
        """Open a connection; raises DatabaseUnavailable or DatabaseRefused."""
        repairs = self._repairs
        try:
            connection = await self._connect()
        except DatabaseRefused as refusal:
            if getattr(refusal.__cause__, "sqlstate", None) not in _SPOILT:
                raise
            async with self._mending:
                if repairs == self._repairs:
                    await self._mend(refusal)
            connection = await self._connect()
        self._may_repair = self._repair is not None
        return connection

    async def _mend(self, refusal: DatabaseRefused) -> None:
        if self._repair is None or not self._may_repair:
            raise refusal
        self._may_repair = False
        self._repairs += 1
        log.warning("login.repaired", role=self._target.user, error=str(refusal))
        await self._repair()

    async def _connect(self) -> Connection:
        return await connect(
            self._target,
            application_name=self._name,
            timeout=self._timeout,
            settings=self._settings,
        )
