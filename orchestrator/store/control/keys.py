"""The keys of tenants: under them data keys are sealed, and with them all archives are lost."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import msgspec

from orchestrator.model.errors import KeyErased, TenantNotFound
from orchestrator.model.ids import TenantId
from orchestrator.store import sql
from orchestrator.store.connect import Connection, ControlPool
from orchestrator.store.tenant.sealing import KEY_BYTES, DataKey, WrappedKey, WrappingKeys

_QUERIES = sql.load(__name__)
HOLDER = _QUERIES["holder"]
KNOWN = _QUERIES["known"]
ADD = _QUERIES["add"]
REWRAP = _QUERIES["rewrap"]
ERASE_FORMER = _QUERIES["erase_former"]
ERASED = _QUERIES["erased"]
FORMER_ERASED = _QUERIES["former_erased"]
ANY_ERASED = _QUERIES["any_erased"]
REWRITE = _QUERIES["rewrite"]
COUNT = _QUERIES["count"]
LEFT = _QUERIES["left"]


class Holder(msgspec.Struct, frozen=True):
    """Whose keys they are: of the tenant with that `registration`, under its id.

    A former tenant of the id is another one. So the erasure of either leaves the other its keys.
    """

    tenant: TenantId
    registration: UUID


class Erased(msgspec.Struct, frozen=True):
    """How many keys of a tenant are destroyed, and of `former` ones of its id are not.

    The order is the query's.
    """

    keys: int
    former: int


class _Row(msgspec.Struct, frozen=True):
    """A key as it is stored; `wrapped` is None once it is erased. The order is the query's."""

    id: UUID
    tenant: TenantId
    registration: UUID
    wrapped: bytes | None
    wrapped_by: str
    erased_at: datetime | None


class TenantKeys:
    """What seals and opens the data keys of one tenant: its own keys, as they were when read.

    Data keys of a time before tenants had keys are opened with the installation's.
    """

    def __init__(self, holder: Holder, rows: Sequence[_Row], installation: WrappingKeys) -> None:
        self._rows = {str(row.id): row for row in rows}
        self._installation = installation
        self._own = {str(row.id) for row in rows if row.registration == holder.registration}
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
            return await known(
                connection, await holder(connection, tenant), self._installation, named
            )

    async def own(self, tenant: TenantId, named: Sequence[str] = ()) -> TenantKeys:
        """Return what `of` does; the first time a key is made."""
        async with self._control.acquire() as connection:
            return await own(
                connection, await holder(connection, tenant), self._installation, named
            )

    async def renew(self, tenant: TenantId) -> None:
        """Seal the keys of a tenant with the installation's key in force."""
        async with self._control.acquire() as connection:
            await rename(connection, await holder(connection, tenant), tenant, self._installation)


async def holder(control: Connection, tenant: TenantId) -> Holder:
    """Return who has the id now, or had it last; TenantNotFound when nobody ever had."""
    registration: UUID | None = await control.fetchval(HOLDER, tenant)
    if registration is None:
        raise TenantNotFound(tenant)
    return Holder(tenant, registration)


async def known(
    control: Connection, holder: Holder, installation: WrappingKeys, named: Sequence[str]
) -> TenantKeys:
    """Return the keys of a tenant; of others only the `named` that are erased, to say so."""
    return TenantKeys(holder, await _rows(control, holder, named), installation)


async def own(
    control: Connection,
    holder: Holder,
    installation: WrappingKeys,
    named: Sequence[str] = (),
    *,
    others: bool = False,
) -> TenantKeys:
    """Return what `known` does, with `others` all that are `named`: to open what came from them.

    The first time a key is made.
    """
    found = TenantKeys(holder, await _rows(control, holder, named, others=others), installation)
    if found.seals:
        return found
    fresh = DataKey(uuid4(), os.urandom(KEY_BYTES))
    wrapped, wrapped_by = _wrapped(fresh, holder.tenant, installation)
    await control.execute(ADD, fresh.id, holder.tenant, holder.registration, wrapped, wrapped_by)
    return TenantKeys(holder, await _rows(control, holder, named, others=others), installation)


async def rename(
    control: Connection, holder: Holder, new: TenantId, installation: WrappingKeys
) -> None:
    """Bind the keys of a tenant to the id `new`, under the installation's key in force."""
    async with control.transaction():
        for row in await _rows(control, holder):
            key = DataKey(row.id, _unwrap(row, installation))
            await control.execute(REWRAP, row.id, new, *_wrapped(key, new, installation))


async def erase_former(control: Connection, tenant: TenantId) -> int:
    """Destroy the keys of all former tenants of an id; return how many are, now and before.

    A tenant that is there, and one that begins meanwhile, keeps its own.
    """
    await control.execute(ERASE_FORMER, tenant)
    found: int = await control.fetchval(FORMER_ERASED, tenant)
    return found


async def erased(control: Connection, holder: Holder) -> Erased:
    """Return what is destroyed of a tenant, and what is left of former ones of its id."""
    row = await control.fetchrow(ERASED, holder.tenant, holder.registration)
    assert row is not None  # noqa: S101 - a count always has a row
    return Erased(*row)


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
    control: Connection, holder: Holder, named: Sequence[str] = (), *, others: bool = False
) -> list[_Row]:
    rows = await control.fetch(KNOWN, holder.tenant, holder.registration, list(named), others)
    return [_Row(*row) for row in rows]


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


def _wrapped(key: DataKey, tenant: TenantId, installation: WrappingKeys) -> tuple[bytes, str]:
    stored = key.wrap(installation, bound_to=_bound_to(tenant))
    return stored.wrapped, stored.wrapped_by


def _bound_to(tenant: TenantId) -> bytes:
    return b"tenant key" + tenant.encode()
