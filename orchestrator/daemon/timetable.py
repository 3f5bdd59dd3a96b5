"""Since when tenants have their schedules, and the wake rows of those that sleep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from orchestrator.model.ids import TenantId
from orchestrator.settings.schedule import next_fire, starts_at
from orchestrator.settings.schedules import TenantSchedule
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import Connection
from orchestrator.store.control import schedules as rows
from orchestrator.store.control.schedules import Since

SinceWhen = dict[tuple[TenantId, str], datetime]
"""By tenant and name of a schedule."""


async def note(
    connection: Connection, configs: Iterable[TenantConfig], gone: Iterable[TenantId] = ()
) -> SinceWhen:
    """Note the schedules of `configs`, and have their tenants woken for the next fire of each.

    Nobody is woken for that, not even a tenant that was never used. The schedules of `gone` tenants
    and of disabled ones are forgotten: when they come back, what passed meanwhile is not caught up.
    """
    every = {config.id: config for config in configs}
    declared = {
        (config.id, schedule.name): schedule
        for config in every.values()
        if config.enabled
        for schedule in config.schedules
    }
    given = [(tenant, name, schedule.times) for (tenant, name), schedule in declared.items()]
    found = await rows.declare(connection, given, sorted({*every, *gone}))
    await rows.remind(connection, _due(declared, found).items())
    return {(each.tenant, each.name): each.since for each in found}


def dated(config: TenantConfig, since: SinceWhen) -> TenantConfig:
    """Return `config` with the beginning of each of its schedules."""
    if not config.schedules:
        return config
    schedules = tuple(
        msgspec.structs.replace(each, since=since.get((config.id, each.name)))
        for each in config.schedules
    )
    return msgspec.structs.replace(config, schedules=schedules)


def _due(
    declared: Mapping[tuple[TenantId, str], TenantSchedule], found: Iterable[Since]
) -> dict[TenantId, datetime]:
    due: dict[TenantId, datetime] = {}
    for each in found:
        timing = declared[each.tenant, each.name].timing
        # What is due already has its row from before: the last supervisor's, or one of ours.
        fire = next_fire(timing, each.now)
        if fire is not None:
            first = starts_at(timing, fire)
            due[each.tenant] = min(due.get(each.tenant, first), first)
    return due
