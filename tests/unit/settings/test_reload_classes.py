"""What a reload does with each key: every one says so, and a change of it is told as that."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args, get_origin

import msgspec
import pytest

from orchestrator.model.ids import TenantId
from orchestrator.settings.decode import Described, fields_of
from orchestrator.settings.diff import Plan, diff
from orchestrator.settings.duration import Duration
from orchestrator.settings.keys import RELOADS
from orchestrator.settings.load import Snapshot, load
from orchestrator.settings.model import Limits, ScheduleSection, Settings, Tenant, Tier
from orchestrator.settings.section import Section
from orchestrator.settings.tenants import tenant_config

BASE = load(None, {"HOME": "/home/ann"})
ACME = TenantId("acme")
SECTIONS = {
    each.name: each.type
    for each in msgspec.structs.fields(Settings)
    if isinstance(each.type, type) and issubclass(each.type, Section)
}


def keys(kinds: dict[str, type[Section]]) -> list[Any]:
    """Return the keys that hold a value and no keys of their own."""
    return [
        pytest.param(section, name, id=f"{section}.{name}")
        for section, kind in kinds.items()
        for name, field in fields_of(kind).items()
        if field.kind is not Limits
    ]


def another(field: Described, value: Any) -> Any:
    """Return a value that the key could have as well; None only when it has one."""
    if get_origin(field.kind) is dict:
        return {"key": True}
    if get_origin(field.kind) is list:
        inner = get_args(field.kind)[0]
        return (
            [ScheduleSection(name="s", workflow="w", every=Duration(1))]
            if inner is ScheduleSection
            else ["a"]
        )
    if isinstance(value, bool):
        return not value
    if isinstance(value, timedelta):
        return Duration(seconds=value.total_seconds() + 1)
    if value is None:
        return Duration(1) if field.kind is Duration else 2 if field.kind is int else "a"
    return value + 1 if isinstance(value, int) else f"{value}x"


def told(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {
        "live": plan.live,
        "daemon": plan.needs_daemon_restart,
        "immutable": plan.violations,
    }


@pytest.mark.parametrize(("section", "name"), keys(SECTIONS))
def test_a_changed_key_of_the_node_is_told_as_what_its_class_says(section: str, name: str) -> None:
    field = fields_of(SECTIONS[section])[name]
    before = getattr(BASE.settings, section)
    changed = {name: another(field, getattr(before, name))}
    settings = msgspec.structs.replace(
        BASE.settings, **{section: msgspec.structs.replace(before, **changed)}
    )

    plan = diff(BASE, msgspec.structs.replace(BASE, settings=settings))

    expected = dict.fromkeys(told(plan), ()) | {field.extra["reload"]: (f"{section}.{name}",)}
    assert told(plan) == expected
    assert plan.changed == {}


def with_tenant(declaration: Tenant) -> Snapshot:
    config = tenant_config(ACME, declaration, {"a": Tier()}, BASE.settings.supervision)
    return msgspec.structs.replace(BASE, tenants={ACME: config})


@pytest.mark.parametrize(("section", "name"), keys({"tenant": Tenant, "limits": Limits}))
def test_a_changed_key_of_a_tenant_is_told_as_that_tenants(section: str, name: str) -> None:
    before = Tenant()
    own: Tenant | Limits = before.limits if section == "limits" else before
    field = fields_of(type(own))[name]
    changed = msgspec.structs.replace(own, **{name: another(field, getattr(own, name))})
    after = Tenant(limits=changed) if isinstance(changed, Limits) else changed

    plan = diff(with_tenant(before), with_tenant(after))

    (path,) = plan.changed[ACME]
    assert path.startswith(f"limits.{name}" if section == "limits" else name)
    assert set().union(*told(plan).values()) == set()


@pytest.mark.parametrize(
    "kind", [*SECTIONS.values(), Limits, ScheduleSection, Tenant], ids=lambda kind: kind.__name__
)
def test_every_key_has_a_class(kind: type[Section]) -> None:
    assert {field.extra["reload"] for field in fields_of(kind).values()} <= set(RELOADS)


def test_only_a_tenant_that_is_switched_off_or_on_stops_or_starts() -> None:
    by_class = {name: field.extra["reload"] for name, field in fields_of(Tenant).items()}
    assert {name for name, reload in by_class.items() if reload != "live"} == {"enabled"}
