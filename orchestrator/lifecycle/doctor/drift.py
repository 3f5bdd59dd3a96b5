"""Compares tenants with a tenant that is made for the purpose, and is gone afterwards.

The code that makes tenants makes it, in a transaction that is rolled back; so it has what a tenant
should have, down to rights and logins. The server makes a digest of each tenant, and only what has
another one than the reference is looked at piece by piece.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from orchestrator.lifecycle.provision import ProvisionSpec, rehearsal
from orchestrator.model.findings import Finding, Severity
from orchestrator.model.ids import TenantId, app_role, engine_role, schema_of
from orchestrator.store import script, sql
from orchestrator.store.connect import Connection

_QUERIES = sql.load(__name__)
_OBJECTS = [_QUERIES[name] for name in ("places", "things_of_relations", "other_things", "objects")]
ALL_OBJECTS = "\n".join((*_OBJECTS, _QUERIES["all_objects"]))
DIGESTS = "\n".join((*_OBJECTS, _QUERIES["digests"]))

MOST = 20
"""So many differences of a tenant are told; who has more has another problem than each of them."""

LONGEST = 300
"""Characters of what is told of one difference."""

_WITH_COLUMNS = frozenset({"table", "view", "materialized view"})

Objects = Mapping[tuple[str, str], str]
"""What is said of each object, by its kind and name."""


class Reference(msgspec.Struct, frozen=True):
    """What a tenant of some version has."""

    digest: str
    objects: Objects


async def build_reference(connection: Connection, spec: ProvisionSpec) -> Reference:
    """Return what a tenant has that is made from `spec`; raises what provisioning does."""
    tenant = TenantId(f"reference_{secrets.token_hex(6)}")
    async with rehearsal(connection, tenant, _without_concurrency(spec)):
        objects = (await read_objects(connection, [tenant], spec.role_prefix))[tenant]
        digest = (await read_digests(connection, [tenant], spec.role_prefix))[tenant]
    return Reference(digest, objects)


async def read_digests(
    connection: Connection, tenants: Sequence[TenantId], role_prefix: str
) -> dict[TenantId, str]:
    """Return the digest of each tenant that has a schema."""
    names = {schema_of(tenant): tenant for tenant in tenants}
    rows = await connection.fetch(DIGESTS, *_arguments(tenants, role_prefix))
    return {names[schema]: digest for schema, digest in rows}


async def read_objects(
    connection: Connection, tenants: Sequence[TenantId], role_prefix: str
) -> dict[TenantId, dict[tuple[str, str], str]]:
    """Return what each of the tenants has."""
    names = {schema_of(tenant): tenant for tenant in tenants}
    found: dict[TenantId, dict[tuple[str, str], str]] = {tenant: {} for tenant in tenants}
    for row in await connection.fetch(ALL_OBJECTS, *_arguments(tenants, role_prefix)):
        schema, kind, name, said = row
        found[names[schema]][kind, name] = said
    return found


def differences(tenant: TenantId, found: Objects, reference: Reference) -> list[Finding]:
    """Return how a tenant differs from what it should be; what is missing comes first."""
    every = [
        *_missing(tenant, found, reference.objects),
        *_changed(tenant, found, reference.objects),
        *_extra(tenant, found, reference.objects),
    ]
    if len(every) <= MOST:
        return every
    more = Finding(
        severity=Severity.ERROR,
        check="drift.more",
        subject=f"tenant {tenant}",
        what=f"it differs in {len(every) - MOST} more things",
        mend=f"insula doctor --tenant {tenant} again when these are mended",
    )
    return [*every[:MOST], more]


def _missing(tenant: TenantId, found: Objects, wanted: Objects) -> Iterator[Finding]:
    gone = {name for kind, name in wanted.keys() - found.keys() if kind in _WITH_COLUMNS}
    for (kind, name), said in sorted(wanted.items()):
        # What a table that is missing would have is missing with it.
        if (kind, name) not in found and not _is_part(kind, name, gone):
            what = f"{kind} {name} is missing: {said}"
            yield _finding(tenant, Severity.ERROR, "missing", what, kind=kind)


def _changed(tenant: TenantId, found: Objects, wanted: Objects) -> Iterator[Finding]:
    for (kind, name), said in sorted(wanted.items()):
        there = found.get((kind, name), said)
        if there != said:
            what = f"{kind} {name} is otherwise: {there}; it should be: {said}"
            yield _finding(tenant, Severity.ERROR, "changed", what, kind=kind)


def _extra(tenant: TenantId, found: Objects, wanted: Objects) -> Iterator[Finding]:
    more = {name for kind, name in found.keys() - wanted.keys() if kind in _WITH_COLUMNS}
    for (kind, name), said in sorted(found.items()):
        if (kind, name) not in wanted and not _is_part(kind, name, more):
            yield _finding(tenant, Severity.WARNING, "extra", f"{kind} {name} is extra: {said}")


def _is_part(kind: str, name: str, tables: set[str]) -> bool:
    return kind not in _WITH_COLUMNS and name.split(".")[0] in tables


def _finding(
    tenant: TenantId, severity: Severity, check: str, what: str, *, kind: str = ""
) -> Finding:
    mend = {
        "missing": "make it in the tenant's schema as it is told here",
        "changed": "alter it in the tenant's schema, or make the change in a migration for all",
        "extra": "drop it, or make it in a migration for all",
    }[check]
    if kind in {"role", "schema"}:
        mend = f"insula tenant rotate-credentials {tenant} puts logins and rights back"
    what = " ".join(what.split())
    return Finding(
        severity=severity,
        check=f"drift.{check}",
        subject=f"tenant {tenant}",
        what=what if len(what) <= LONGEST else f"{what[:LONGEST]}…",
        mend=mend,
    )


def _arguments(tenants: Sequence[TenantId], prefix: str) -> tuple[list[str], list[str], list[str]]:
    return (
        [schema_of(tenant) for tenant in tenants],
        [engine_role(tenant, prefix=prefix) for tenant in tenants],
        [app_role(tenant, prefix=prefix) for tenant in tenants],
    )


def _without_concurrency(spec: ProvisionSpec) -> ProvisionSpec:
    """Return a spec whose migrations all run in a transaction, and make the same."""
    files = tuple(
        each
        if each.transactional
        else msgspec.structs.replace(
            each, sql=script.in_a_transaction(each.sql), transactional=True
        )
        for each in spec.app_migrations
    )
    return msgspec.structs.replace(spec, app_migrations=files)
