"""One examination: everything there is to look at, in its order."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec

from orchestrator.lifecycle.doctor.server import examine_server, examine_sessions
from orchestrator.lifecycle.doctor.tenants import (
    control_version,
    examine_leftovers,
    examine_tables,
    examine_versions,
)
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.model.errors import TenantNotFound
from orchestrator.model.findings import Diagnosis, Finding, Severity, sorted_findings
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import Progress, Report
from orchestrator.store.connect import Connection
from orchestrator.store.control.tenants import TenantRow, fetch_all, installation_id
from orchestrator.store.migrate import Migration, control_migrations


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation is, and which of its tenants to look at: those named, or all."""

    role_prefix: str
    app_migrations: tuple[Migration, ...]
    max_awake: int
    state_dir: Path
    database: str
    tenants: tuple[str, ...] = ()
    aliases: dict[str, TenantId] = msgspec.field(default_factory=dict)


async def examine(connection: Connection, examination: Examination, report: Report) -> Diagnosis:
    """Examine what `connection`, one of the admin's, leads to. Raises TenantNotFound.

    What is built to compare with is rolled back; nothing is changed.
    """
    report(Progress("looking at the server"))
    findings: list[Finding] = []
    if not examination.tenants:
        findings += await examine_server(connection, max_awake=examination.max_awake)
        findings += await examine_sessions(connection)
    version = await control_version(connection)
    newest = len(control_migrations())
    tenants = 0
    if version == newest:
        found = await fetch_all(connection)
        chosen = _chosen(found, examination)
        tenants = len(chosen)
        findings += await _examine_tenants(connection, examination, found, chosen, report)
    else:
        findings.append(_control(version, newest))
    return Diagnosis(
        database=examination.database,
        server_version=str(await connection.fetchval("SHOW server_version")),
        tenants=tenants,
        findings=sorted_findings(findings),
    )


async def _examine_tenants(
    connection: Connection,
    examination: Examination,
    rows: list[TenantRow],
    chosen: list[TenantRow],
    report: Report,
) -> list[Finding]:
    spec = ProvisionSpec(
        role_prefix=examination.role_prefix,
        installation=await installation_id(connection),
        # No login is made from it that stays.
        key=InstallationKey(secrets.token_bytes(32)),
        app_migrations=examination.app_migrations,
    )
    findings: list[Finding] = []
    if not examination.tenants:
        findings += await examine_leftovers(connection, rows, spec, examination.state_dir)
    findings += await examine_tables(connection, [row.id for row in chosen])
    return findings + await examine_versions(connection, chosen, spec, report)


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
