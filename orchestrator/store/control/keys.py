"""The keys of tenants: under them data keys are sealed, and with them all archives are lost."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from orchestrator.model.errors import KeyErased
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection, ControlPool
from orchestrator.store.tenant.sealing import KEY_BYTES, DataKey, WrappedKey, WrappingKeys

_QUERIES = sql.load(__name__)
KNOWN = _QUERIES["known"]
ADD = _QUERIES["add"]
REWRAP = _QUERIES["rewrap"]
RENAME_ERASED = _QUERIES["rename_erased"]
ERASE = _QUERIES["erase"]
ERASED = _QUERIES["erased"]
ANY_ERASED = _QUERIES["any_erased"]
REWRITE = _QUERIES["rewrite"]
COUNT = _QUERIES["count"]
LEFT = _QUERIES["left"]


class _Row(msgspec.Struct, frozen=True):
    """A key as it is stored; `wrapped` is None once it is erased. The order is the query's."""

    id: UUID
    tenant: TenantId
    wrapped: bytes | None
    wrapped_by: str
    erased_at: datetime | None


class TenantKeys:
    """What seals and opens the data keys of one tenant: its own keys, as they were when read.

    Data keys of a time before tenants had keys are opened with the installation's.
    """

    def __init__(self, tenant: TenantId, rows: Sequence[_Row], installation: WrappingKeys) -> None:
        self._rows = {str(row.id): row for row in rows}
        self._installation = installation
        self._own = {str(row.id) for row in rows if row.tenant == tenant}
        usable = [key for key in self._rows if key in self._own and self._rows[key].wrapped]
        self._current = usable[-1] if usable else None

    @property
    def seals(self) -> bool:
        """False when the tenant has no key yet, or none any more."""
        return self._current is not None

    @property
    def wraps_as(self) -> str:
        """The id of the key that seals: what stands beside each data key."""
        assert self._current is not None  # noqa: S101 - only those of `own` seal
        return self._current

    def knows(self, wrapped_by: str) -> bool:
        """Return whether a key of that id was there when they were read."""
        return wrapped_by in self._rows

    def owns(self, wrapped_by: str) -> bool:
        """Return whether the key of that id is the tenant's, erased or not."""
        return wrapped_by in self._own

    def wrapping_key(self, key: UUID, wrapped_by: str) -> bytes | None:
        """Return what seals data key `key`; None for a key that is not here, KeyErased."""
        row = self._rows.get(wrapped_by)
        if row is None:
            return self._installation.wrapping_key(key, wrapped_by)
        return hmac.digest(
            _unwrap(row, self._installation), b"insula data key" + key.bytes, "sha256"
        )


class Keyring:
    """Finds the keys of tenants in the control database."""

    def __init__(self, control: ControlPool, installation: WrappingKeys) -> None:
        self._control = control
        self._installation = installation

    async def of(self, tenant: TenantId, named: Sequence[str]) -> TenantKeys:
        """Return the keys of a tenant, for reading what is sealed with those that are `named`."""
        async with self._control.acquire() as connection:
            return await known(connection, tenant, self._installation, named)

    async def own(self, tenant: TenantId) -> TenantKeys:
        """Return the keys of a tenant; the first time one is made."""
        async with self._control.acquire() as connection:
            return await own(connection, tenant, self._installation)

    async def renew(self, tenant: TenantId) -> None:
        """Seal the keys of a tenant with the installation's key in force."""
        async with self._control.acquire() as connection:
            await rename(connection, tenant, tenant, self._installation)


async def known(
    control: Connection, tenant: TenantId, installation: WrappingKeys, named: Sequence[str]
) -> TenantKeys:
    """Return the keys of a tenant; of others only the `named` that are erased, to say so."""
    return TenantKeys(tenant, await _rows(control, tenant, named), installation)


async def own(
    control: Connection, tenant: TenantId, installation: WrappingKeys, *, also: Sequence[str] = ()
) -> TenantKeys:
    """Return the keys of a tenant, and `also` those of these ids, to open what came from others.

    The first time one is made.
    """
    found = TenantKeys(tenant, await _rows(control, tenant, also, others=True), installation)
    if found.seals:
        return found
    fresh = DataKey(uuid4(), os.urandom(KEY_BYTES))
    await control.execute(ADD, *_stored(fresh, tenant, installation))
    return TenantKeys(tenant, await _rows(control, tenant, also, others=True), installation)


async def rename(
    control: Connection, tenant: TenantId, new: TenantId, installation: WrappingKeys
) -> None:
    """Bind the keys of `tenant` to the id `new`, under the installation's key in force."""
    async with control.transaction():
        for row in await _rows(control, tenant):
            if row.wrapped is not None:
                key = DataKey(row.id, _unwrap(row, installation))
                await control.execute(REWRAP, *_stored(key, new, installation))
        await control.execute(RENAME_ERASED, tenant, new)


async def erase(control: Connection, tenant: TenantId) -> None:
    """Destroy all keys that were made for a tenant."""
    await control.execute(ERASE, tenant)


async def erased(control: Connection, tenant: TenantId) -> int:
    """Return how many keys of a tenant are destroyed, now and before."""
    found: int = await control.fetchval(ERASED, tenant)
    return found


async def wipe(control: Connection) -> bool:
    """Leave nothing of destroyed keys in the table's file; tell whether nothing is left there.

    As long as a transaction is open that began before a key was destroyed, the server keeps it.
    `control` is in no transaction. Raises what the database says of a lock that is not had.
    """
    if not await control.fetchval(ANY_ERASED):
        return True
    await control.execute(REWRITE)
    await control.execute(COUNT)
    left: int = await control.fetchval(LEFT)
    return left == 0


async def _rows(
    control: Connection, tenant: TenantId, named: Sequence[str] = (), *, others: bool = False
) -> list[_Row]:
    return [_Row(*row) for row in await control.fetch(KNOWN, tenant, list(named), others)]


def _unwrap(row: _Row, installation: WrappingKeys) -> bytes:
    """Return a key; KeyErased, or SecretUnreadable without the installation's key."""
    if row.wrapped is None:
        raise KeyErased(
            row.tenant,
            f"what was sealed for tenant {row.tenant!r} was erased on {row.erased_at:%Y-%m-%d}: "
            "its key is destroyed",
            hint="nothing brings it back; set secrets anew",
        )
    stored = WrappedKey(row.id, row.wrapped, row.wrapped_by)
    return DataKey.unwrap(stored, installation, bound_to=_bound_to(row.tenant)).secret


def _stored(
    key: DataKey, tenant: TenantId, installation: WrappingKeys
) -> tuple[UUID, TenantId, bytes, str]:
    wrapped = key.wrap(installation, bound_to=_bound_to(tenant))
    return key.id, tenant, wrapped.wrapped, wrapped.wrapped_by


def _bound_to(tenant: TenantId) -> bytes:
    return b"tenant key" + tenant.encode()
