"""Makes a tenant of a schema that exists, in one transaction.

A schema of its own is renamed. From `public`, which belongs to the database, what is not an
extension's moves out. Then it is provisioned as every tenant is, and the ledger notes which
migrations of the application it has already: those that are named, or those that make just that.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import msgspec

from orchestrator.lifecycle.doctor.drift import build_reference, differences, read_objects
from orchestrator.lifecycle.provision import (
    LOCK_TIMEOUT,
    Provisioner,
    ProvisionSpec,
    provisioning_errors,
)
from orchestrator.lifecycle.removal import has_schema
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.errors import AdoptionRefused, TenantExists
from orchestrator.model.ids import CONTROL_SCHEMA, IDENTIFIER_BYTES, TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants
from orchestrator.store.control.shards import Owner, prepare

_QUERIES = sql.load(__name__)
SOURCE = _QUERIES["source"]
NAMES_TAKEN = _QUERIES["names_taken"]
OWNERS = _QUERIES["owners"]
EXTENSIONS = _QUERIES["extensions"]
OTHER_KINDS = _QUERIES["other_kinds"]
ENTANGLED = _QUERIES["entangled"]
TEXTS = _QUERIES["texts"]
GRANTEES = _QUERIES["grantees"]
OBJECTS = _QUERIES["objects"]
TABLES = _QUERIES["tables"]

PUBLIC = "public"
NOT_MADE = (
    "it is not what the migrations make, however many of them it has: say with --at N that it has "
    "the first N. From what the nearest number of them makes it differs so"
)
_SYSTEM = frozenset({"information_schema", CONTROL_SCHEMA})


@dataclass(frozen=True)
class OnShard:
    """A tenant whose registry is another database: the way there, and whose shard it is on."""

    control: Connection
    owner: Owner


async def adopt(
    connection: Connection,
    tenant: TenantId,
    wanted: AdoptSchema,
    spec: ProvisionSpec,
    *,
    lock_timeout: str = LOCK_TIMEOUT,
    on_shard: OnShard | None = None,
) -> AdoptionReport:
    """Make `wanted.schema` the schema of a registered tenant that has none yet.

    All of it is one transaction, which a dry run rolls back: what it tells has been tried. That of
    the registry ends right after it where that is another database: what an end between the two
    leaves is a tenant of which the registry hears at its first use. Raises AdoptionRefused with all
    that stands in the way, TenantExists for a tenant that has a schema, and LockNotHad for tables
    that others use for longer than `lock_timeout`.
    """
    control = connection if on_shard is None else on_shard.control
    with provisioning_errors(tenant), suppress(_RolledBack):
        async with control.transaction(), connection.transaction():
            if on_shard is not None:
                await prepare(connection, on_shard.owner)
            work = Provisioner(
                connection, tenant, spec, rotation=0, lock_timeout=lock_timeout, control=control
            )
            adoption = _Adoption(connection, tenant, wanted, spec, work, control)
            report = await adoption.run()
            if wanted.dry_run or report.obstacles:
                raise _RolledBack
    if report.obstacles and not wanted.dry_run:
        raise AdoptionRefused(tenant, wanted.schema, report.obstacles)
    return report


class _RolledBack(Exception):
    """Nothing of what was done is to stay."""


class _Adoption:
    """One call: what it does is written down as it is done."""

    def __init__(
        self,
        connection: Connection,
        tenant: TenantId,
        wanted: AdoptSchema,
        spec: ProvisionSpec,
        work: Provisioner,
        control: Connection,
    ) -> None:
        self._connection = connection
        self._control = control
        self._tenant = tenant
        self._wanted = wanted
        self._spec = spec
        self._schema = schema_of(tenant)
        self._work = work
        self._plan: list[str] = []
        self._notices: list[str] = []

    async def run(self) -> AdoptionReport:
        await self._work.begin()
        row = await tenants.fetch(self._control, self._tenant)
        if row.state != "registered" or await self._adopted_before():
            raise TenantExists(
                self._tenant,
                f"tenant {self._tenant!r} has a schema of its own already",
                hint="adopt the other schema under another id: insula tenant create ID",
            )
        obstacles = await self._obstacles()
        if obstacles:
            return self._told(obstacles=obstacles)
        await self._look_around()
        await self._take()
        self._plan.append("make the two logins, their rights, and the engine's tables")
        await self._work.make(adopt=True)
        await self._grant()
        return await self._settle()

    async def _adopted_before(self) -> bool:
        """Return whether a call that ended too early has left the registry to hear of it."""
        apart = self._control is not self._connection
        return apart and await has_schema(self._connection, self._tenant)

    async def _obstacles(self) -> list[str]:
        source = self._wanted.schema
        if source.startswith("pg_") or source in _SYSTEM:
            return ["it is not one of the application's"]
        nowhere = ["there is no such schema"]
        if len(source.encode()) > IDENTIFIER_BYTES or "\0" in source:
            return nowhere
        row = await self._connection.fetchrow(SOURCE, source)
        if row is None or not row["exists"]:
            return nowhere
        if row["ours"]:
            return ["it is a tenant's"]
        found = [f"the name {each} is the engine's" for each in await self._names(NAMES_TAKEN)]
        found += [
            f"the admin login can not take what {owner} owns: GRANT {owner} TO it"
            for owner in await self._names(OWNERS)
        ]
        found += await self._names(ENTANGLED)
        if source == PUBLIC:
            found += [
                f"the {each} does not move by itself: ALTER … SET SCHEMA, or drop it"
                for each in await self._names(OTHER_KINDS)
            ]
        else:
            found += ["the admin login does not own it"] if not row["may"] else []
            found += [
                f"the extension {each} lives in it: ALTER EXTENSION {each} SET SCHEMA public"
                for each in await self._names(EXTENSIONS)
            ]
        return found

    async def _look_around(self) -> None:
        """Note what is no obstacle, and somebody should know of."""
        source = self._wanted.schema
        self._notices += [
            f"the text of function {each} names the schema {source}"
            for each in await self._names(TEXTS)
        ]
        self._notices += [
            f"{each} has rights on its tables, and keeps them"
            for each in await self._names(GRANTEES)
        ]
        if source == PUBLIC:
            self._notices += [
                f"the extension {each} stays in public: tasks have to write public.name of it"
                for each in await self._names(EXTENSIONS)
            ]

    async def _take(self) -> None:
        """Bring everything into the tenant's schema, and under the admin login."""
        source = self._wanted.schema
        if source == PUBLIC:
            await self._do('CREATE SCHEMA :"schema"')
            for word, name, _ in await self._connection.fetch(OBJECTS, source):
                await self._do(f'ALTER {word} {name} SET SCHEMA :"schema"')
        else:
            await self._do('ALTER SCHEMA :"source" RENAME TO :"schema"')
            await self._do('ALTER SCHEMA :"schema" OWNER TO CURRENT_USER')
        for word, name, owned in await self._connection.fetch(OBJECTS, self._schema):
            if not owned:
                await self._do(f"ALTER {word} {name} OWNER TO CURRENT_USER")

    async def _grant(self) -> None:
        for name, sequence in await self._connection.fetch(TABLES, self._schema):
            rights = "USAGE, SELECT" if sequence else "SELECT, INSERT, UPDATE, DELETE"
            what = "SEQUENCE" if sequence else "TABLE"
            await self._do(f'GRANT {rights} ON {what} :"schema".:"name" TO :"app"', name=name)

    async def _settle(self) -> AdoptionReport:
        """Note which migrations it has, and in the registry that it is there."""
        at, different = await self._compared()
        if at is None:
            return self._told(
                obstacles=[
                    NOT_MADE,
                    *different,
                ]
            )
        for migration in self._spec.app_migrations[:at]:
            await self._work.record("app", migration)
        if at:
            self._plan.append(f"note the migrations up to {at:04} as applied")
        if at < len(self._spec.app_migrations):
            self._plan.append("leave the migrations after that to its first use")
        await tenants.mark_provisioned(
            self._control,
            self._tenant,
            engine_version=len(self._spec.engine_migrations),
            app_version=at,
            # Not that of a tenant that is up to date: passwords and the rest come before its use.
            fingerprint="",
        )
        return self._told(at=at, differences=different)

    async def _compared(self) -> tuple[int | None, list[str]]:
        """Return how many migrations it has, and how it differs from what these make."""
        newest = len(self._spec.app_migrations)
        if self._wanted.at is not None:
            if self._wanted.at > newest:
                raise AdoptionRefused(
                    self._tenant,
                    self._wanted.schema,
                    [f"there are {newest} migrations, and no {self._wanted.at:04}"],
                )
            return self._wanted.at, await self._differences(self._wanted.at)
        nearest: list[str] | None = None
        for at in range(newest, -1, -1):
            different = await self._differences(at)
            if not different or not newest:
                return at, different
            if nearest is None or len(different) < len(nearest):
                nearest = different
        return None, nearest or []

    async def _differences(self, at: int) -> list[str]:
        made_from = msgspec.structs.replace(
            self._spec, app_migrations=self._spec.app_migrations[:at]
        )
        reference = await build_reference(self._connection, made_from, control=self._control)
        found = await read_objects(self._connection, [self._tenant], self._spec.role_prefix)
        return [each.what for each in differences(self._tenant, found[self._tenant], reference)]

    async def _names(self, query: str) -> list[str]:
        return [row[0] for row in await self._connection.fetch(query, self._wanted.schema)]

    async def _do(self, statement: str, **names: str) -> None:
        filled = sql.fill(
            statement,
            schema=self._schema,
            source=self._wanted.schema,
            app=self._spec.logins(self._tenant).app,
            **names,
        )
        await self._connection.execute(filled)
        self._plan.append(filled)

    def _told(
        self,
        *,
        at: int = 0,
        obstacles: list[str] | None = None,
        differences: list[str] | None = None,
    ) -> AdoptionReport:
        return AdoptionReport(
            tenant=self._tenant,
            schema=self._wanted.schema,
            becomes=self._schema,
            dry_run=self._wanted.dry_run,
            at=at,
            plan=self._plan,
            obstacles=obstacles or [],
            notices=self._notices,
            differences=differences or [],
        )
