"""The secrets of one tenant: stored sealed, opened for its tasks alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Protocol
from uuid import UUID, uuid4

import msgspec
import structlog

from orchestrator.model.errors import (
    InvalidRequest,
    KeyErased,
    SecretNotFound,
    SecretUnreadable,
)
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.fenced import Runner
from orchestrator.store.tenant.sealing import DataKey, WrappedKey, WrappingKeys
from orchestrator.workflow.durable import OtherLoop

_QUERIES = sql.load(__name__)
ALONE = _QUERIES["alone"]
CURRENT_KEY = _QUERIES["current_key"]
EVERY_KEY = _QUERIES["every_key"]
ADD_KEY = _QUERIES["add_key"]
RETIRE_KEY = _QUERIES["retire_key"]
REWRAP_KEY = _QUERIES["rewrap_key"]
DROP_KEYS = _QUERIES["drop_keys"]
PUT = _QUERIES["put"]
RESEAL = _QUERIES["reseal"]
REMOVE = _QUERIES["remove"]
LISTED = _QUERIES["listed"]
HOW_MANY = _QUERIES["how_many"]
EVERY_SECRET = _QUERIES["every_secret"]
READ = _QUERIES["read"]
RING = _QUERIES["ring"]
USE_FOR_PAYLOADS = _QUERIES["use_for_payloads"]

log = structlog.get_logger(__name__)

MOST = 1000
"""Secrets that a tenant may have: all of them are sealed anew in one transaction."""


class Listed(msgspec.Struct, frozen=True):
    """What may be told of a secret. The order is the query's."""

    name: str
    created_at: datetime
    updated_at: datetime


class Sealed(msgspec.Struct, frozen=True):
    """A secret as it is stored. The order is the query's."""

    name: str
    id: UUID
    key_id: UUID
    sealed: bytes

    @property
    def bound_to(self) -> bytes:
        """What it is sealed to: this row, under this name."""
        return _bound_to(self.id, self.name)

    def resealed(self, old: DataKey, new: DataKey) -> bytes:
        """Return what it is sealed with another key; SecretUnreadable when it was changed."""
        return new.seal(old.open(self.sealed, self.bound_to), self.bound_to)


class Stored(msgspec.Struct, frozen=True):
    """A secret and its key as they are stored. The order is the query's."""

    name: str
    id: UUID
    key_id: UUID
    sealed: bytes
    wrapped: bytes
    wrapped_by: str


class RingKey(msgspec.Struct, frozen=True):
    """A key of the tenant as it is stored. The order is the query's."""

    id: UUID
    wrapped: bytes
    wrapped_by: str
    current: bool
    payloads: bool


async def ring(connection: Connection, schema: str) -> list[RingKey]:
    """Return the keys of a tenant as they are stored."""
    return [RingKey(*row) for row in await connection.fetch(sql.bind(RING, schema))]


class KnownKeys(WrappingKeys, Protocol):
    """The keys of a tenant, as they were when they were read."""

    def knows(self, wrapped_by: str, /) -> bool:
        """Return whether a key of that name was there then."""
        ...


Keep = Callable[[Connection, TenantId], Awaitable[object]]


class Vault:
    """What the daemon does to the secrets of a tenant, over the admin's login.

    `keep` sees to it that nobody renames or deletes the tenant before a transaction ends, or
    raises: what is sealed after its keys have got another name could not be opened by anybody.
    """

    def __init__(self, tenant: TenantId, keys: WrappingKeys, keep: Keep | None = None) -> None:
        self._tenant = tenant
        self._keep = keep
        self._schema = schema_of(tenant)
        self._keys = keys

    async def put(self, connection: Connection, name: str, value: str) -> Listed:
        """Store a secret, in place of the one of that name; InvalidRequest when there are too many.

        `value` is in no statement, in no log and in no error: what is sent is sealed.
        """
        async with self._alone(connection):
            await self._stay(connection)
            key = await self._current(connection)
            if await connection.fetchval(self._bind(HOW_MANY), name) >= MOST:
                raise InvalidRequest(
                    f"a tenant has at most {MOST} secrets", hint="delete what is not used any more"
                )
            id = uuid4()
            sealed = key.seal(value.encode(), _bound_to(id, name))
            row = await connection.fetchrow(self._bind(PUT), name, id, key.id, sealed)
        assert row is not None  # noqa: S101 - an upsert returns its row
        return Listed(name, *row)

    async def remove(self, connection: Connection, name: str) -> None:
        """Delete a secret; SecretNotFound."""
        if await connection.fetchval(self._bind(REMOVE), name) is None:
            raise SecretNotFound(self._tenant, name)

    async def listed(self, connection: Connection) -> list[Listed]:
        """Return what may be told of the secrets, by name."""
        return [Listed(*row) for row in await connection.fetch(self._bind(LISTED))]

    async def rotate(self, connection: Connection) -> int:
        """Seal every secret with a new key, and return how many were.

        Every key that is kept is sealed with the tenant's key in force, so that a former one is not
        needed any more. What an erased key has sealed stays as it is.
        """
        async with self._alone(connection):
            await self._stay(connection)
            known = {key.id: key for key in await self._opened(connection)}
            await self._rewrap(connection, known.values())
            await connection.execute(self._bind(RETIRE_KEY), list(known))
            new = await self._add(connection)
            found = [Sealed(*row) for row in await connection.fetch(self._bind(EVERY_SECRET))]
            secrets = [each for each in found if each.key_id in known]
            await connection.executemany(
                self._bind(RESEAL),
                [(each.id, new.id, each.resealed(known[each.key_id], new)) for each in secrets],
            )
            await connection.execute(self._bind(DROP_KEYS))
        return len(secrets)

    async def take_in(self, connection: Connection) -> list[UUID]:
        """Seal all keys with the tenant's own, which others may have sealed; return the erased.

        An erased key seals no more. One whose key is not here stays as it is: that may come yet.
        """
        erased: list[UUID] = []
        async with self._alone(connection):
            for stored in await self._every_key(connection):
                if stored.wrapped_by == self._keys.wraps_as:
                    continue
                try:
                    await self._rewrap(connection, [self._unwrap(stored)])
                except KeyErased:
                    erased.append(stored.id)
                except SecretUnreadable as error:
                    log.warning("tenant.key_not_here", tenant=self._tenant, error=str(error))
            await connection.execute(self._bind(RETIRE_KEY), erased)
        return erased

    async def use_for_payloads(self, connection: Connection) -> None:
        """Have the current key seal payloads, so that it is kept; the first time it is made."""
        async with self._alone(connection):
            await self._current(connection)
            await connection.execute(self._bind(USE_FOR_PAYLOADS))

    @asynccontextmanager
    async def _alone(self, connection: Connection) -> AsyncIterator[None]:
        """Change keys or secrets in one transaction, while nobody else does."""
        async with connection.transaction():
            await connection.execute(self._bind(ALONE))
            yield

    async def _stay(self, connection: Connection) -> None:
        if self._keep is not None:
            await self._keep(connection, self._tenant)

    async def _every_key(self, connection: Connection) -> list[WrappedKey]:
        return [WrappedKey(*row) for row in await connection.fetch(self._bind(EVERY_KEY))]

    async def _opened(self, connection: Connection) -> list[DataKey]:
        """Return the keys that are not erased; SecretUnreadable when one is not to be opened."""
        opened = []
        for stored in await self._every_key(connection):
            with suppress(KeyErased):
                opened.append(self._unwrap(stored))
        return opened

    async def _current(self, connection: Connection) -> DataKey:
        """Return the key that seals; the first time it is made."""
        row = await connection.fetchrow(self._bind(CURRENT_KEY))
        return await self._add(connection) if row is None else self._unwrap(WrappedKey(*row))

    def _unwrap(self, stored: WrappedKey) -> DataKey:
        return DataKey.unwrap(stored, self._keys)

    async def _add(self, connection: Connection) -> DataKey:
        key = DataKey.generate()
        wrapped = key.wrap(self._keys)
        await connection.execute(self._bind(ADD_KEY), *msgspec.structs.astuple(wrapped))
        return key

    async def _rewrap(self, connection: Connection, keys: Iterable[DataKey]) -> None:
        wrapped = [msgspec.structs.astuple(key.wrap(self._keys)) for key in keys]
        await connection.executemany(self._bind(REWRAP_KEY), wrapped)

    def _bind(self, query: str) -> str:
        return sql.bind(query, self._schema)


class OwnedSecrets:
    """The secrets that an owner reads of its tenant; raises as `OwnedConnection` does."""

    def __init__(self, run: Runner, *, schema: str) -> None:
        self._run = run
        self._schema = schema
        self._read = sql.bind(READ, schema)

    async def ring(self) -> list[RingKey]:
        """Return the tenant's keys as they are stored."""
        return await self._run(lambda c: ring(c, self._schema))

    async def stored(self, name: str) -> Stored | None:
        """Return a secret as it is stored now, with its key."""
        row = await self._run(lambda c: c.fetchrow(self._read, name))
        return None if row is None else Stored(*row)


class OpenSecrets:
    """Opens the secrets of a tenant for its tasks; each is read anew, so that a change is seen."""

    def __init__(
        self, tenant: str, rows: OwnedSecrets, find: Callable[[Sequence[str]], Awaitable[KnownKeys]]
    ) -> None:
        self._tenant = tenant
        self._rows = rows
        self._find = find
        self._keys: KnownKeys | None = None
        self._loop = asyncio.get_running_loop()

    async def read(self, name: str, /) -> str:
        """Return a secret; SecretNotFound, or SecretUnreadable when its key is not ours."""
        if asyncio.get_running_loop() is not self._loop:  # the connection is this one's
            raise OtherLoop("ctx.secret")
        stored = await self._rows.stored(name)
        if stored is None:
            raise SecretNotFound(self._tenant, name)
        if self._keys is None or not self._keys.knows(stored.wrapped_by):
            self._keys = await self._find([stored.wrapped_by])
        wrapped = WrappedKey(stored.key_id, stored.wrapped, stored.wrapped_by)
        key = DataKey.unwrap(wrapped, self._keys)
        return key.open(stored.sealed, _bound_to(stored.id, stored.name)).decode()


def _bound_to(row: UUID, name: str) -> bytes:
    # The parts of fixed length come first, so that no two places give the same bytes.
    return b"secret" + row.bytes + name.encode()
