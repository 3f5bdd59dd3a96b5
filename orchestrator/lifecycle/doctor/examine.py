"""One examination: everything there is to look at, in its order."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from orchestrator.lifecycle.doctor.copies import examine_copies, examine_databases
from orchestrator.lifecycle.doctor.door import examine_door
from orchestrator.lifecycle.doctor.renames import names_of, waits
from orchestrator.lifecycle.doctor.server import examine_server, examine_sessions
from orchestrator.lifecycle.doctor.tenants import (
    control_version,
    examine_catalogs,
    examine_leftovers,
    examine_roles,
    examine_tables,
    examine_unfinished,
    examine_versions,
    gone,
)
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.model.errors import (
    DatabaseRefused,
    DatabaseUnavailable,
    InsulaError,
    TenantNotFound,
)
from orchestrator.model.findings import Diagnosis, Finding, Severity, sorted_findings
from orchestrator.model.ids import CONTROL_SHARD, TenantId
from orchestrator.model.progress import Progress, Report
from orchestrator.store.connect import Connection, Target, connect, translated
from orchestrator.store.control import databases, renames
from orchestrator.store.control.tenants import TenantRow, fetch_all, installation_id
from orchestrator.store.migrate import Migration, control_migrations
from orchestrator.store.shards import Shard, Shards

SETTINGS = {"lock_timeout": "2s", "statement_timeout": "60s", "timezone": "UTC"}
"""Of every session that looks."""


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation is, and which of its tenants to look at: those named, or all.

    `door` is how to log in to a server that others reach too; None for the daemon's own, whose
    login is the superuser, and whose door is a directory.
    """

    role_prefix: str
    app_migrations: tuple[Migration, ...]
    max_awake: int
    state_dir: Path
    database: str
    tenants: tuple[str, ...] = ()
    aliases: dict[str, TenantId] = msgspec.field(default_factory=dict)
    door: Target | None


async def examine(
    connection: Connection, examination: Examination, report: Report, *, shards: Shards | None
) -> Diagnosis:
    """Examine what `connection`, one of the admin's, leads to, and the shards. TenantNotFound.

    What is built to compare with is rolled back; nothing is changed.
    """
    report(Progress("looking at the server"))
    findings: list[Finding] = []
    if not examination.tenants:
        findings += await _examine_server(
            connection, examination, embedded=examination.door is None
        )
    version = await control_version(connection)
    newest = len(control_migrations())
    tenants = 0
    if version == newest:
        rows, renaming = await fetch_all(connection), await renames.waiting(connection)
        call = _Call(connection, examination, rows, report, renaming)
        tenants = len(call.chosen)
        findings += await call.run(shards)
    else:
        findings.append(_control(version, newest))
    return Diagnosis(
        database=examination.database,
        server_version=str(await connection.fetchval("SHOW server_version")),
        tenants=tenants,
        findings=sorted_findings(findings),
    )


class _Call:
    """One examination of the tenants, wherever they are."""

    def __init__(
        self,
        control: Connection,
        examination: Examination,
        rows: list[TenantRow],
        report: Report,
        renaming: Mapping[TenantId, TenantId],
    ) -> None:
        self._control = control
        self._examination = examination
        self._rows = [each for row in rows for each in names_of(row, renaming.get(row.id))]
        self._report = report
        self._renaming = renaming
        self.chosen = _chosen(rows, examination)
        self._spec: ProvisionSpec

    async def run(self, shards: Shards | None) -> list[Finding]:
        examination = self._examination
        self._spec = ProvisionSpec(
            role_prefix=examination.role_prefix,
            installation=await installation_id(self._control),
            # No login is made from it that stays.
            key=InstallationKey(secrets.token_bytes(32)),
            app_migrations=examination.app_migrations,
        )
        findings: list[Finding] = []
        if not examination.tenants:
            findings += await examine_unfinished(self._rows, examination.state_dir)
            findings += await self._leftovers(self._control, CONTROL_SHARD)
        here = [row for row in self.chosen if row.shard == CONTROL_SHARD]
        findings += await self._tenants(self._control, here)
        if examination.door is not None and not examination.tenants:
            findings += await examine_door(examination.door, here, self._spec)
        others = dict(shards.others) if shards is not None else {}
        for name, shard in sorted(others.items()):
            findings += await self._shard(name, shard)
        findings += [
            waits(row, self._renaming[row.id]) for row in self.chosen if row.id in self._renaming
        ]
        known = {CONTROL_SHARD, *others}
        return findings + [_unknown(row) for row in self.chosen if row.shard not in known]

    async def _shard(self, name: str, shard: Shard) -> list[Finding]:
        findings: list[Finding] = []
        try:
            async with _connected(shard.target) as server:
                prefix = shard.database_prefix
                there = set(await databases.named(server, prefix)) if shard.apart else set()
                if not self._examination.tenants:
                    found = await _examine_server(server, self._examination, embedded=False)
                    if shard.apart:
                        found += examine_databases(there, self._rows, prefix, shard=name)
                        found += await examine_roles(server, self._rows, self._spec)
                        found += await self._kept(name, shard, there)
                    else:
                        found += await self._leftovers(server, name)
                    findings += [_of_shard(name, each) for each in found]
            places = self._places(name, shard)
            for target, rows in places.items():
                if shard.apart and target.database not in there:
                    findings += [gone(row.id) for row in rows]
                    continue
                async with _connected(target) as connection:
                    findings += await self._tenants(connection, rows)
            if not self._examination.tenants:
                findings += [_of_shard(name, each) for each in await self._door(places)]
        except (DatabaseUnavailable, DatabaseRefused) as error:
            findings.append(_unreachable(name, error))
        return findings

    async def _door(self, places: Mapping[Target, list[TenantRow]]) -> list[Finding]:
        for target, rows in places.items():
            return await examine_door(target, rows, self._spec)
        return []

    def _places(self, name: str, shard: Shard) -> dict[Target, list[TenantRow]]:
        places: dict[Target, list[TenantRow]] = {}
        for row in self.chosen:
            if row.shard == name and row.id not in self._renaming:
                places.setdefault(shard.target_of(row.id), []).append(row)
        return places

    async def _leftovers(self, connection: Connection, shard: str) -> list[Finding]:
        return [
            *await examine_leftovers(connection, self._rows, self._spec, shard=shard),
            *await examine_copies(connection, self._rows, shard=shard),
        ]

    async def _kept(self, name: str, shard: Shard, there: set[str]) -> list[Finding]:
        findings: list[Finding] = []
        for row in self._rows:
            target = shard.target_of(row.id)
            if row.moved_from == name and target.database in there:
                async with _connected(target) as connection:
                    findings += await examine_copies(connection, [row], shard=name)
        return findings

    async def _tenants(self, connection: Connection, rows: list[TenantRow]) -> list[Finding]:
        return [
            *await examine_tables(connection, [row.id for row in rows]),
            *await examine_versions(
                connection, rows, self._spec, self._report, control=self._control
            ),
        ]


async def _examine_server(
    connection: Connection, examination: Examination, *, embedded: bool
) -> list[Finding]:
    return [
        *await examine_server(connection, max_awake=examination.max_awake, embedded=embedded),
        *await examine_sessions(connection),
        *await examine_catalogs(connection),
    ]


@asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[Connection]:
    connection = await connect(target, application_name="insula doctor", settings=SETTINGS)
    try:
        with translated("the shard can not be examined"):
            yield connection
    finally:
        connection.terminate()


def _of_shard(name: str, finding: Finding) -> Finding:
    if finding.subject.startswith("tenant "):
        return finding
    return msgspec.structs.replace(finding, subject=f"shard {name}, {finding.subject}")


def _unreachable(name: str, error: InsulaError) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        check="shard.unreachable",
        subject=f"shard {name}",
        what=f"its tenants can not be served, and were not looked at: {error}",
        mend=error.hint,
    )


def _unknown(row: TenantRow) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        check="shard.unknown",
        subject=f"tenant {row.id}",
        what=f"it is on the shard {row.shard}, which the configuration does not name",
        mend=f"add [shards.{row.shard}] to the configuration",
    )


def _chosen(rows: Iterable[TenantRow], examination: Examination) -> list[TenantRow]:
    """Return the tenants to look at: of those that are provisioned, those that are named."""
    there = {row.id: row for row in rows if row.usable}
    for name in examination.tenants:
        if examination.aliases.get(name.casefold(), name) not in there:
            raise TenantNotFound(name)
    named = {examination.aliases.get(each.casefold(), each) for each in examination.tenants}
    return [
        row
        for tenant, row in there.items()
        if row.state == "provisioned" and (not named or tenant in named)
    ]


def _control(version: int | None, newest: int) -> Finding:
    if version is None:
        return Finding(
            severity=Severity.NOTICE,
            check="control.missing",
            subject="schema insula",
            what="there is none: no daemon has served from this database yet",
            mend="insula serve makes it",
        )
    ahead = version > newest
    return Finding(
        severity=Severity.ERROR if ahead else Severity.WARNING,
        check="control.version",
        subject="schema insula",
        what=f"it has version {version}, and this is for {newest}: tenants are not looked at",
        mend="update this installation" if ahead else "insula serve brings it up to date",
    )
