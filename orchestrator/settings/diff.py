"""What a new configuration changes, and what each change needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.settings.decode import Described, fields_of
from orchestrator.settings.keys import Reload
from orchestrator.settings.load import Snapshot
from orchestrator.settings.model import Settings
from orchestrator.settings.section import Section
from orchestrator.settings.tenants import TenantConfig

_PER_TENANT = {"tenants", "tiers", "include"}
"""Sections whose effect shows in the tenants, after the tiers are merged in."""

_OPEN = {"settings", "features", "metadata", "limits"}
"""Maps of a tenant that are compared key by key."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done to get from one snapshot to the next; paths are written with dots."""

    added: tuple[TenantId, ...] = ()
    removed: tuple[TenantId, ...] = ()
    changed: Mapping[TenantId, tuple[str, ...]] = {}
    live: tuple[str, ...] = ()
    needs_daemon_restart: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """True when there is nothing to do."""
        return self == Plan()


def diff(old: Snapshot, new: Snapshot) -> Plan:
    """Compare two snapshots."""
    changed = {
        tenant: paths
        for tenant, config in new.tenants.items()
        if tenant in old.tenants
        if (paths := tuple(changed_fields(old.tenants[tenant], config)))
    }
    by_reload = _changed_settings(old, new)
    return Plan(
        added=tuple(sorted(new.tenants.keys() - old.tenants.keys())),
        removed=tuple(sorted(old.tenants.keys() - new.tenants.keys())),
        changed=changed,
        live=tuple(by_reload["live"]),
        needs_daemon_restart=tuple(by_reload["daemon"]),
        violations=tuple(by_reload["immutable"]),
    )


def changed_fields(old: TenantConfig, new: TenantConfig) -> list[str]:
    """Return the paths of what differs between two configurations of one tenant."""
    paths: list[str] = []
    for name in TenantConfig.__struct_fields__:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if name in _OPEN:
            paths.extend(f"{name}.{key}" for key in _changed_keys(before, after))
        else:
            paths.append(name)
    return paths


def _changed_keys(old: Any, new: Any) -> list[str]:
    before, after = _mapping(old), _mapping(new)
    absent = object()
    return sorted(
        key
        for key in before.keys() | after.keys()
        if before.get(key, absent) != after.get(key, absent)
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return msgspec.structs.asdict(value) if isinstance(value, Section) else value


def _changed_settings(old: Snapshot, new: Snapshot) -> dict[Reload, list[str]]:
    found: dict[Reload, list[str]] = {"live": [], "daemon": [], "immutable": []}
    for section in msgspec.structs.fields(Settings):
        if section.name in {*_PER_TENANT, "shards"}:
            continue
        before, after = getattr(old.settings, section.name), getattr(new.settings, section.name)
        kind: type[Section] = type(before)
        for name, field in fields_of(kind).items():
            if getattr(before, name) != getattr(after, name):
                found[_reload(field)].append(f"{section.name}.{name}")
    # A secret's new value, or a directory's, shows only in what the snapshot made of the settings.
    resolved = {
        "database.url": old.database_url != new.database_url,
        "cache.url": old.cache_url != new.cache_url,
        "node.state_dir": old.state_dir != new.state_dir,
        "node.runtime_dir": old.runtime_dir != new.runtime_dir,
        "migrations.path": old.migrations_path != new.migrations_path,
    }
    for name in sorted(old.shards.keys() | new.shards.keys()):
        resolved[f"shards.{name}"] = old.shards.get(name) != new.shards.get(name)
    known = {path for paths in found.values() for path in paths}
    found["daemon"] += [path for path, differs in resolved.items() if differs and path not in known]
    return found


def _reload(field: Described) -> Reload:
    return cast("Reload", field.extra["reload"])
