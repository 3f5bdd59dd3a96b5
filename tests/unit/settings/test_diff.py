"""What a reload would change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.ids import TenantId
from orchestrator.settings.diff import Plan, diff
from orchestrator.settings.load import Snapshot, load
from orchestrator.settings.model import Limits, LogSection, Settings
from orchestrator.settings.tenants import TenantConfig

BASE = load(None, {"HOME": "/home/ann"})
COUNTS = st.none() | st.integers(min_value=1, max_value=3)
MAPS = st.dictionaries(st.sampled_from(["a", "b.c", "d"]), st.integers(0, 2), max_size=3)
CONFIGS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y"]),
        "enabled": st.booleans(),
        "aliases": st.sampled_from([(), ("one",), ("one", "two")]),
        "settings": MAPS,
        "metadata": MAPS,
        "limits": st.builds(Limits, max_queue_length=COUNTS, max_retries=COUNTS),
        "workflows": st.sampled_from([None, (), ("w",)]),
        "weight": st.integers(1, 3),
    }
)
TENANTS = st.dictionaries(st.sampled_from(["acme", "globex", "initech"]), CONFIGS, max_size=3)


def snapshot_of(tenants: dict[str, dict[str, Any]], **settings: Any) -> Snapshot:
    """Return a snapshot with these tenants and settings."""
    configs = {
        TenantId(name): TenantConfig(id=TenantId(name), **each) for name, each in tenants.items()
    }
    changed = msgspec.structs.replace(BASE.settings, **settings)
    return msgspec.structs.replace(BASE, tenants=configs, settings=changed)


def apply(old: Snapshot, plan: Plan, new: Snapshot) -> dict[TenantId, TenantConfig]:
    """Carry the plan out, looking at `new` only where the plan points."""
    tenants = {name: each for name, each in old.tenants.items() if name not in plan.removed}
    tenants |= {name: new.tenants[name] for name in plan.added}
    for name, paths in plan.changed.items():
        for path in paths:
            tenants[name] = _with(tenants[name], path, new.tenants[name])
    return tenants


def _with(config: TenantConfig, path: str, source: TenantConfig) -> TenantConfig:
    name, _, key = path.partition(".")
    value, wanted = getattr(config, name), getattr(source, name)
    if key and isinstance(value, Limits):
        value = msgspec.structs.replace(value, **{key: getattr(wanted, key)})
    elif key:
        value = {each: item for each, item in value.items() if each != key}
        value |= {key: wanted[key]} if key in wanted else {}
    else:
        value = wanted
    return msgspec.structs.replace(config, **{name: value})


@given(TENANTS, TENANTS)
def test_carrying_out_the_difference_gives_the_new_tenants(
    before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]
) -> None:
    old, new = snapshot_of(before), snapshot_of(after)

    plan = diff(old, new)

    assert apply(old, plan, new) == new.tenants
    assert plan.empty == (before == after)


def test_a_changed_tenant_names_each_field() -> None:
    old = snapshot_of({"acme": {"name": "x", "limits": Limits(max_retries=1)}})
    new = snapshot_of(
        {"acme": {"name": "x", "limits": Limits(max_queue_length=9), "enabled": False}}
    )

    assert diff(old, new).changed == {
        TenantId("acme"): ("enabled", "limits.max_queue_length", "limits.max_retries")
    }


def test_a_change_of_the_daemon_is_sorted_by_what_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "insula.toml"
    path.write_text('[node]\nstate_dir = "a"\n')
    old = load(path, {})
    path.write_text(
        '[node]\nstate_dir = "b"\n[log]\nlevel = "debug"\n'
        '[supervision]\nidle_ttl = "5s"\n[database]\nrole_prefix = "other"\n'
    )

    plan = diff(old, load(path, {}))

    assert plan == Plan(
        live=("supervision.idle_ttl", "log.level"),
        needs_daemon_restart=("node.state_dir",),
        violations=("database.role_prefix",),
    )


def test_a_new_value_behind_the_same_reference_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "insula.toml"
    path.write_text('[database]\nurl = "${DB}"\n')

    plan = diff(load(path, {"DB": "postgresql:///a"}), load(path, {"DB": "postgresql:///b"}))

    assert plan == Plan(needs_daemon_restart=("database.url",))


def test_nothing_changed_needs_nothing() -> None:
    assert diff(BASE, snapshot_of({}, log=LogSection())).empty
    assert Settings() == BASE.settings
