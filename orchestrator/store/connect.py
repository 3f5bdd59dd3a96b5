"""Connections to PostgreSQL: where to, as whom, and what a failure means to the caller."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar, Self, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import anyio
import asyncpg
import msgspec

from orchestrator.model.errors import (
    ConfigError,
    DatabaseFull,
    DatabaseRefused,
    DatabaseUnavailable,
    LockNotHad,
)
from orchestrator.settings.database_url import url_problems
from orchestrator.store import sqlstate

Record: TypeAlias = "asyncpg.Record"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

DRIVER_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""All that the driver raises on its own account; `classify` tells what one of them means."""

PROBES = {
    "TCP_KEEPIDLE": 15,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 30_000,
}
"""A silent server is probed after 15 s and given up after 30; the last is in milliseconds."""

FIXED_OIDS = 10_000
"""Types below are the same in every database of every version: PostgreSQL gives these numbers by
hand and never again (FirstGenbkiObjectId in access/transam.h)."""

_NOTHING_PREPARED = SimpleNamespace(name="none")
"""Stands for the statement of a question that was not asked; one without a name would have taken
the place of the statement that the driver is about to run."""

CLOSE_SECONDS = 2.0

CONNECT_ERRORS = (*DRIVER_ERRORS, ValueError, OverflowError)
"""What else comes out of an attempt to connect: the driver reads PGPORT and its like by itself."""

_GONE = re.compile("closed|released back to the pool")
_SECRETS = ("password", "sslpassword")

# SQLSTATE classes and codes, longest match first. A server that is starting, full or gone may be
# there later; one that refuses the login, the database or a right waits for a person.
_REFUSED = ("28", sqlstate.INVALID_CATALOG_NAME, sqlstate.INSUFFICIENT_PRIVILEGE)
_LIMIT_OF_A_ROLE = "InitializeSessionUserId"
"""The routine of the server that finds a role's own limit reached: the message is translated."""

_UNAVAILABLE = ("08", "53", "57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One server and the login to it. `str()` and `repr()` never show a password.

    >>> str(Target.parse("postgresql://app:secret@db.example:5433/main?sslmode=require"))
    'postgresql://app@db.example:5433/main?sslmode=require'
    """

    hosts: str
    database: str
    user: str
    password: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a `postgresql://` URL; what it leaves out comes from PGUSER, PGDATABASE and PGHOST.

        A unix socket is `postgresql:///name?host=/path/of/directory`. Raises ConfigError.
        """
        if problems := url_problems(url):
            raise ConfigError(
                [f"the database URL {problem}" for problem in problems],
                hint="for example postgresql://user:password@host:5432/database",
            )
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        user = options.pop("user", unquote(user)) or os.environ.get("PGUSER") or getpass.getuser()
        database = options.pop("dbname", options.pop("database", unquote(parts.path[1:])))
        return cls(
            hosts=hosts,
            user=user,
            password=options.pop("password", unquote(password)) or None,
            database=database or os.environ.get("PGDATABASE") or user,
            options=tuple(options.items()),
        )

    def as_role(self, role: str, password: str) -> Target:
        """Return the same database under another login."""
        return msgspec.structs.replace(self, user=role, password=password)

    def with_database(self, database: str) -> Target:
        """Return another database of the same server under the same login."""
        return msgspec.structs.replace(self, database=database)

    @property
    def redacted(self) -> str:
        """The URL without any secret, for logs and errors."""
        return self._url(secrets=False)

    @property
    def url(self) -> str:
        """The whole URL, password included: hand it to a process, never to a log."""
        return self._url(secrets=True)

    @property
    def dsn(self) -> str:
        """The server and its options alone, for the driver, which takes the login apart from it."""
        query = urlencode(self.options, quote_via=quote)
        return f"postgresql://{self.hosts}/" + (f"?{query}" if query else "")

    def _url(self, *, secrets: bool) -> str:
        shown = [(key, value) for key, value in self.options if secrets or key not in _SECRETS]
        query = urlencode(shown, quote_via=quote, safe="/")
        password = f":{quote(self.password, safe='')}" if secrets and self.password else ""
        login = f"{quote(self.user, safe='')}{password}"
        database = quote(self.database, safe="")
        return f"postgresql://{login}@{self.hosts}/{database}" + (f"?{query}" if query else "")

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"Target({self.redacted!r})"


async def connect(
    target: Target,
    *,
    application_name: str,
    timeout: float = 10.0,  # noqa: ASYNC109 - the driver's own: name, TLS and login in one
    settings: Mapping[str, str] | None = None,
) -> Connection:
    """Open one connection of its own; raises DatabaseUnavailable or DatabaseRefused.

    json and jsonb travel as text, undecoded: that is the driver's default, and nobody here may
    register a codec. Prepared statements stay for the connection's life.

    >>> connection = await connect(target, application_name="insula root", timeout=10)
    """
    try:
        connection: Connection = await asyncpg.connect(
            **_arguments(target, application_name, settings), timeout=timeout
        )
    except CONNECT_ERRORS as error:
        raise connection_failure(error, target) from error
    return connection


def classify(error: BaseException) -> type[DatabaseUnavailable] | type[DatabaseRefused] | None:
    """Return which of our errors a driver's error is; None when it is about the statement.

    DatabaseUnavailable: the connection is of no use any more, try again with a new one.
    DatabaseRefused: trying again changes nothing until somebody grants or corrects something.
    """
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError) or state.startswith(_REFUSED):
        return DatabaseRefused
    if isinstance(error, OSError | TimeoutError) or state.startswith(_UNAVAILABLE):
        return DatabaseUnavailable
    # A connection that ended between two statements has neither class nor code of its own: the
    # driver finds it closed or, when the server's farewell came first, in a state it can not leave.
    stuck = isinstance(error, asyncpg.InternalClientError)
    if stuck or (isinstance(error, asyncpg.InterfaceError) and _GONE.search(str(error))):
        return DatabaseUnavailable
    return None


def found_full(error: BaseException) -> bool:
    """Tell whether the server, or the database, has no connection left for anybody.

    A login's own limit has the same SQLSTATE, and is nobody else's business.
    """
    taken = getattr(error, "sqlstate", None) == sqlstate.TOO_MANY_CONNECTIONS
    return taken and getattr(error, "server_source_function", None) != _LIMIT_OF_A_ROLE


def at_its_own_limit(error: BaseException | None) -> bool:
    """Tell whether a login was refused because as many of that login are there already."""
    taken = getattr(error, "sqlstate", None) == sqlstate.TOO_MANY_CONNECTIONS
    return taken and getattr(error, "server_source_function", None) == _LIMIT_OF_A_ROLE


def connection_failure(
    error: BaseException, target: Target
) -> DatabaseUnavailable | DatabaseRefused:
    """Return what to raise when `target` could not be connected to because of `error`."""
    reason = str(error).strip() or type(error).__name__
    if isinstance(error, TimeoutError) and not str(error):
        reason = "no answer in time"
    if found_full(error):
        return DatabaseFull(
            f"the database {target.redacted} has no room for another connection: {reason}",
            hint="raise max_connections there, or lower [node] max_awake_tenants",
        )
    if classify(error) is DatabaseUnavailable:
        return DatabaseUnavailable(
            f"the database {target.redacted} can not be reached: {reason}",
            hint="check that the server runs and that its url in the configuration names it",
        )
    if isinstance(error, ValueError | OverflowError):  # it was never asked
        return DatabaseRefused(
            f"the database {target.redacted} can not be reached this way: {reason}",
            hint="check the options of [database] url, and the PG… variables of the environment",
        )
    # Whatever else a server says to a login is a refusal: it answered, and said no.
    return DatabaseRefused(
        f"the database {target.redacted} refuses the login: {reason}",
        hint="check the user, the password, the database and pg_hba.conf",
    )


@contextmanager
def translated(what: str, *, hint: str = "") -> Iterator[None]:
    """Raise the driver's errors about connection, right or lock as ours; let the others through.

    >>> with translated("the registry can not be read"):
    ...     await connection.fetch(query)
    """
    try:
        yield
    except DRIVER_ERRORS as error:
        if getattr(error, "sqlstate", None) in sqlstate.LOCK_NOT_HAD:
            raise LockNotHad(f"{what}: somebody else uses it", hint=hint or "try again") from error
        kind = classify(error)
        if kind is None:
            raise
        raise kind(f"{what}: {str(error) or type(error).__name__}", hint=hint) from error


class WatchedConnection(asyncpg.Connection):
    """A connection whose peer is probed: over TCP a server that vanished would be waited for.

    What the driver has to ask of the catalog about a type, such as `uuid[]`, is asked once in the
    life of the process and not once on each connection: a tenant that wakes would spend a third of
    its first statements on it.
    """

    _asked: ClassVar[dict[tuple[int, ...], list[Record]]] = {}

    def __init__(self, protocol: Any, transport: asyncio.Transport, *args: Any) -> None:
        super().__init__(protocol, transport, *args)
        opened = transport.get_extra_info("socket")
        if opened is not None and opened.family in (socket.AF_INET, socket.AF_INET6):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in PROBES.items():
                if hasattr(socket, name):  # not every system has each of them
                    opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    async def _introspect_types(
        self,
        typeoids: Iterable[int],
        timeout: float | None,  # noqa: ASYNC109 - the driver's own
    ) -> tuple[list[Record], Any]:
        """Return the catalog's rows of these types, and the statement that they came from."""
        wanted = tuple(sorted(typeoids))
        if wanted in self._asked:
            return self._asked[wanted], _NOTHING_PREPARED
        found: tuple[list[Record], Any] = await super()._introspect_types(wanted, timeout)  # type: ignore[misc]  # the stubs leave it out
        if wanted[-1] < FIXED_OIDS:
            self._asked[wanted] = found[0]
        return found


class ControlPool:
    """A few connections under the admin login, for work that is not one tenant's own.

    The reset on release is left out: it costs a round trip and a transaction each time, and
    users of this pool keep to transactions and SET LOCAL. Each connection is replaced after so
    many statements, because a backend's caches grow with every tenant it touches.
    """

    SIZE = 4
    STATEMENTS = 20_000

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], target: Target) -> None:
        self._pool = pool
        self.target = target

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        target: Target,
        *,
        application_name: str,
        timeout: float = 10.0,  # noqa: ASYNC109 - as in connect
        at_once: bool = True,
    ) -> AsyncIterator[Self]:
        """Connect `at_once`, so that a wrong login shows here, and close everything at the end."""
        try:
            pool: asyncpg.Pool[asyncpg.Record] = await asyncpg.create_pool(
                **_arguments(target, application_name, None),
                timeout=timeout,
                min_size=0,  # else it would try by itself while the server is away
                max_size=cls.SIZE,
                max_queries=cls.STATEMENTS,
                reset=_keep,
            )
            if at_once:
                async with pool.acquire():
                    pass
        except CONNECT_ERRORS as error:
            raise connection_failure(error, target) from error
        try:
            yield cls(pool, target)
        finally:
            # It waits for the connections that are lent, and each of them for the server.
            with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                await pool.close()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lend a connection; raises DatabaseUnavailable or DatabaseRefused when there is none.

        The same when it is lost in the middle; other errors of the driver pass.
        """
        try:
            connection = await self._pool.acquire()
        except DRIVER_ERRORS as error:
            raise connection_failure(error, self.target) from error
        try:
            with translated("the database does not answer"):
                yield connection  # type: ignore[misc]  # the proxy has the connection's methods
        finally:
            await self._pool.release(connection)


async def _keep(connection: Connection) -> None:
    """Reset nothing; the driver has already rolled back what was left open."""


def _arguments(
    target: Target, application_name: str, settings: Mapping[str, str] | None
) -> dict[str, Any]:
    return {
        "dsn": target.dsn,
        "user": target.user,
        "password": target.password,
        "database": target.database,
        "connection_class": WatchedConnection,
        "statement_cache_size": 256,
        "max_cached_statement_lifetime": 0,
        "server_settings": {"application_name": application_name, **(settings or {})},
    }
