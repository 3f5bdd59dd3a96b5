"""The secrets of one tenant: stored sealed, opened for its tasks alone."""

from __future__ import annotations

import asyncio
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from orchestrator.model.errors import InvalidRequest, SecretNotFound
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.schedules import Runner
from orchestrator.store.tenant.sealing import DataKey, WrappedKey, WrappingKeys
from orchestrator.workflow.durable import OtherLoop

_QUERIES = sql.load(__name__)
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


class Vault:
    """What the daemon does to the secrets of a tenant, over the admin's login."""

    def __init__(self, tenant: TenantId, keys: WrappingKeys) -> None:
        self._tenant = tenant
        self._schema = schema_of(tenant)
        self._keys = keys

    async def put(self, connection: Connection, name: str, value: str) -> Listed:
        """Store a secret, in place of the one of that name; InvalidRequest when there are too many.

        `value` is in no statement, in no log and in no error: what is sent is sealed.
        """
        async with connection.transaction():
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
        """Seal every secret with a new key, and return how many there are.

        Every key that is kept is sealed with the installation's key in force, so that a former one
        is not needed any more.
        """
        async with connection.transaction():
            rows = await connection.fetch(self._bind(EVERY_KEY))
            known = {key.id: key for key in (self._unwrap(WrappedKey(*row)) for row in rows)}
            await connection.executemany(
                self._bind(REWRAP_KEY),
                [msgspec.structs.astuple(key.wrap(self._keys)) for key in known.values()],
            )
            new = DataKey.generate()
            await connection.execute(self._bind(RETIRE_KEY))
            await self._add(connection, new)
            secrets = [Sealed(*row) for row in await connection.fetch(self._bind(EVERY_SECRET))]
            await connection.executemany(
                self._bind(RESEAL), [_resealed(each, known[each.key_id], new) for each in secrets]
            )
            await connection.execute(self._bind(DROP_KEYS))
        return len(secrets)

    async def use_for_payloads(self, connection: Connection) -> None:
        """Have the current key seal payloads, so that it is kept; the first time it is made."""
        async with connection.transaction():
            await self._current(connection)
            await connection.execute(self._bind(USE_FOR_PAYLOADS))

    async def _current(self, connection: Connection) -> DataKey:
        """Return the key that seals; the first time it is made."""
        row = await connection.fetchrow(self._bind(CURRENT_KEY))
        if row is None:
            await self._add(connection, DataKey.generate())
            row = await connection.fetchrow(self._bind(CURRENT_KEY))
        assert row is not None  # noqa: S101 - ours, or that of somebody who was faster
        return self._unwrap(WrappedKey(*row))

    def _unwrap(self, stored: WrappedKey) -> DataKey:
        return DataKey.unwrap(stored, self._keys)

    async def _add(self, connection: Connection, key: DataKey) -> None:
        wrapped = key.wrap(self._keys)
        await connection.execute(self._bind(ADD_KEY), *msgspec.structs.astuple(wrapped))

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

    def __init__(self, tenant: str, rows: OwnedSecrets, keys: WrappingKeys) -> None:
        self._tenant = tenant
        self._rows = rows
        self._keys = keys
        self._loop = asyncio.get_running_loop()

    async def read(self, name: str, /) -> str:
        """Return a secret; SecretNotFound, or SecretUnreadable when its key is not ours."""
        if asyncio.get_running_loop() is not self._loop:  # the connection is this one's
            raise OtherLoop("ctx.secret")
        stored = await self._rows.stored(name)
        if stored is None:
            raise SecretNotFound(self._tenant, name)
        wrapped = WrappedKey(stored.key_id, stored.wrapped, stored.wrapped_by)
        key = DataKey.unwrap(wrapped, self._keys)
        return key.open(stored.sealed, _bound_to(stored.id, stored.name)).decode()


def _resealed(secret: Sealed, old: DataKey, new: DataKey) -> tuple[UUID, UUID, bytes]:
    plain = old.open(secret.sealed, secret.bound_to)
    return secret.id, new.id, new.seal(plain, secret.bound_to)


def _bound_to(row: UUID, name: str) -> bytes:
    # The parts of fixed length come first, so that no two places give the same bytes.
    return b"secret" + row.bytes + name.encode()
