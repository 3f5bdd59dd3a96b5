"""Opens connections under a role of one tenant, and has the role mended when its login fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import anyio
import structlog

from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable
from orchestrator.store import sqlstate
from orchestrator.store.connect import Connection, Target, connect

log = structlog.get_logger(__name__)

_SPOILT = (sqlstate.INVALID_PASSWORD, sqlstate.INVALID_AUTHORIZATION_SPECIFICATION)
"""SQLSTATE of a login with another password than the role's, or of a role that may not log in."""


async def try_login(login: Target, *, name: str) -> Literal["refused", "accepted", "untried"]:
    """Log in and out again: what the server says of a password is known for sure only then."""
    try:
        connection = await connect(login, application_name=name)
    except DatabaseRefused:
        return "refused"
    except DatabaseUnavailable:
        return "untried"
    connection.terminate()
    return "accepted"


class Renew(Protocol):
    """Returns a role's way in as the registry has it now, `again` after making the role anew."""

    async def __call__(self, *, again: bool) -> Target: ...


Attempt = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Way:
    """A role's way in, and how to learn of another one.

    `attempt` surrounds each attempt to connect: it may refuse it, and learns what came of it.
    """

    target: Target
    renew: Renew | None = None
    attempt: Attempt = nullcontext


class Login:
    """One role's way in, and how to learn of another one when it is refused.

    The passwords may have been rotated since: then `renew` returns another way in. Or the role was
    changed behind our back: its password, its LOGIN. That is mended once, and again only after a
    login that went well.
    """

    def __init__(
        self,
        way: Way,
        *,
        application_name: str,
        settings: Mapping[str, str],
        timeout: float = 10.0,
    ) -> None:
        self._target = way.target
        self._name = application_name
        self._settings = settings
        self._timeout = timeout
        self._renew = way.renew
        self._attempt = way.attempt
        self._mending = anyio.Lock()
        self._may_repair = True
        self._renewals = 0

    async def connect(self) -> Connection:
        """Open a connection; raises DatabaseUnavailable or DatabaseRefused."""
        renewals = self._renewals
        try:
            connection = await self._connect()
        except DatabaseRefused as refusal:
            if getattr(refusal.__cause__, "sqlstate", None) not in _SPOILT:
                raise
            async with self._mending:
                if renewals == self._renewals:
                    self._target = await self._another_way_in(refusal)
                    self._renewals += 1
            connection = await self._connect()
        self._may_repair = True
        return connection

    async def _another_way_in(self, refusal: DatabaseRefused) -> Target:
        if self._renew is None:
            raise refusal
        found = await self._renew(again=False)
        if found != self._target:
            log.info("login.renewed", role=self._target.user)
            return found
        if not self._may_repair:
            raise refusal
        self._may_repair = False
        log.warning("login.repaired", role=self._target.user, error=str(refusal))
        return await self._renew(again=True)

    async def _connect(self) -> Connection:
        with self._attempt():
            return await connect(
                self._target,
                application_name=self._name,
                timeout=self._timeout,
                settings=self._settings,
            )
