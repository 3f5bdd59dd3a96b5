"""Reads what has been applied to many tenants at once, from the ledgers in their schemas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

import msgspec

from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection, Record
from orchestrator.store.migrate import Applied, Migration, pending

_QUERIES = sql.load(__name__)
SCHEMAS = _QUERIES["schemas"]
LEDGER = _QUERIES["ledger"]

AT_ONCE = 100
"""Schemas in one query: each is a table more to plan for and to lock."""


class Begun(msgspec.Struct, frozen=True):
    """A migration outside a transaction that has begun and not ended.

    `line` is that of the statement it is at, or was; `alive` tells whether anybody is at it.
    """

    number: int
    name: str
    at: datetime
    line: int | None
    alive: bool


class Ledgers(msgspec.Struct, frozen=True, kw_only=True):
    """The two ledgers of a tenant, and what runs outside a transaction, or was left by that."""

    engine: list[Applied] = msgspec.field(default_factory=list)
    app: list[Applied] = msgspec.field(default_factory=list)
    begun: list[Begun] = msgspec.field(default_factory=list)


class Lacking(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant lacks, in the order in which it is applied."""

    tenant: TenantId
    engine: tuple[Migration, ...]
    app: tuple[Migration, ...]

    @property
    def files(self) -> list[str]:
        """The names of the files, as people know them; the engine's are told apart."""
        return [
            *(f"engine {each.number:04}_{each.name}" for each in self.engine),
            *(f"{each.number:04}_{each.name}" for each in self.app),
        ]


async def read_ledgers(
    connection: Connection, tenants: Iterable[TenantId]
) -> dict[TenantId, Ledgers]:
    """Return the ledgers of those tenants that have one, in a query for every hundred."""
    by_schema = {schema_of(tenant): tenant for tenant in tenants}
    there = [row[0] for row in await connection.fetch(SCHEMAS, [*by_schema])]
    found: dict[TenantId, Ledgers] = {}
    for some in _some(there):
        query = "\nUNION ALL\n".join(
            sql.fill(sql.bind(LEDGER, schema), schema=schema) for schema in some
        )
        rows: dict[str, list[Record]] = {schema: [] for schema in some}
        for row in await connection.fetch(query):
            rows[row["schema"]].append(row)
        found.update({by_schema[schema]: _ledgers(each) for schema, each in rows.items()})
    return found


def lacking(tenant: TenantId, ledgers: Ledgers | None, spec: ProvisionSpec) -> Lacking:
    """Return what a tenant with these ledgers lacks; None is one that has nothing yet.

    Raises SchemaVersionAhead and MigrationChecksumMismatch.
    """
    there = ledgers or Ledgers()
    return Lacking(
        tenant=tenant,
        engine=pending(there.engine, spec.engine_migrations, owner=tenant),
        app=pending(there.app, spec.app_migrations, owner=tenant),
    )


def _ledgers(rows: Iterable[Record]) -> Ledgers:
    ledgers = Ledgers()
    for row in rows:
        number, name = row["number"], row["name"]
        if row["ledger"] == "begun":
            ledgers.begun.append(Begun(number, name, row["applied_at"], row["line"], row["alive"]))
        else:
            ledger = ledgers.engine if row["ledger"] == "engine" else ledgers.app
            ledger.append(Applied(number, name, row["checksum"]))
    return ledgers


def _some(schemas: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(schemas)
    while some := list(islice(remaining, AT_ONCE)):
        yield some
