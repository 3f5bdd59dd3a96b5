"""Notes which tenants files declare, change and leave out: in the registry, and in the audit."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.ids import TenantId
from orchestrator.quota.limits import of_submissions
from orchestrator.settings.diff import changed_fields
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import Connection
from orchestrator.store.control import audit, configuration
from orchestrator.store.control.audit import Deed
from orchestrator.store.control.configuration import Before

Configs = Mapping[TenantId, TenantConfig]

BY = "insula"
"""Who it was: files are changed by nobody that we know."""


async def compare(connection: Connection, files: Configs) -> list[Before]:
    """Return what the registry has of the tenants that files declare otherwise; ask it first."""
    return await configuration.compare(connection, _hashes(files), "file")


async def note(
    connection: Connection,
    node: str,
    before: list[Before],
    *,
    declared: tuple[Configs, Configs],
    known: Configs,
) -> dict[TenantId, list[str]]:
    """Note what is declared now, in the caller's transaction.

    `declared` are the tenants of files and those registered at run time, `before` the answer of
    `compare`, `known` what this node served until now. Returns the registered tenants that their
    tier has changed, with their fields.
    """
    files, registered = declared
    found = await configuration.compare(connection, _hashes(registered), "api")
    gone = await configuration.leave_out(connection, files)
    both = {**registered, **files}
    changed = {each.id: both[each.id].digest for each in (*before, *found)}
    await configuration.note(connection, changed)
    fields = {
        tenant: changed_fields(known[tenant], both[tenant]) for tenant in changed if tenant in known
    }
    deeds = [_declared(each) if _is_new(each) else _changed(each, fields) for each in before]
    deeds += [_changed(each, fields) for each in found]
    deeds += [Deed(each, BY, "tenant.undeclare", "no file has it any more") for each in gone]
    await audit.note(connection, node, [deed for deed in deeds if deed is not None])
    return {each.id: fields[each.id] for each in found if fields.get(each.id)}


async def note_one(connection: Connection, config: TenantConfig) -> None:
    """Note what a tenant is to be served as, in the transaction that declares it."""
    await configuration.note(connection, {config.id: config.digest})
    await limit(connection, {config.id: config})


async def limit(connection: Connection, configs: Configs) -> bool:
    """Have `insula.submit` know the limits of these tenants; tell whether any are others now."""
    limits = {tenant: of_submissions(config.limits) for tenant, config in configs.items()}
    return await configuration.limit(connection, limits)


def _is_new(before: Before) -> bool:
    return before.new or before.undeclared or before.source != "file"


def _declared(before: Before) -> Deed:
    registered = before.source == "api" and not before.new
    subject = "in a file, which goes before its registration" if registered else "in a file"
    return Deed(before.id, BY, "tenant.declare", subject)


def _changed(before: Before, fields: Mapping[TenantId, list[str]]) -> Deed | None:
    """Return what to write down; nothing when only its first hash is noted."""
    if before.hash is None:
        return None
    what = " ".join(fields.get(before.id, ())) or "seen at start"
    return Deed(before.id, BY, "tenant.update", what)


def _hashes(configs: Configs) -> dict[TenantId, str]:
    return {tenant: config.digest for tenant, config in configs.items()}
