"""The schedules that files declare: checked, merged with the tier's, as the engine takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from orchestrator.model.errors import DefinitionError
from orchestrator.settings.decode import Fault
from orchestrator.settings.duration import enc_hook
from orchestrator.settings.lines import Path
from orchestrator.settings.model import ScheduleSection
from orchestrator.settings.schedule import Schedule

_TIMING = ("cron", "timezone", "every", "anchor", "at")


class TenantSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule of one tenant. It came, or got other times, at `since`: nothing before fires."""

    name: str
    timing: Schedule
    queue: str | None = None
    priority: int = 0
    since: datetime | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """What was declared, as JSON; without what was not given."""
        timing = msgspec.to_builtins(self.timing, enc_hook=enc_hook)
        own = {"queue": self.queue, "priority": self.priority}
        left_out = {"id", "paused"}
        return {k: v for k, v in {**timing, **own}.items() if v is not None and k not in left_out}

    @property
    def times(self) -> str:
        """What decides when it fires, as text: when that changes, the past does not count."""
        return msgspec.json.encode(
            {name: getattr(self.timing, name) for name in _TIMING}, enc_hook=enc_hook
        ).decode()


def merged(
    tenant: str, tier: Sequence[ScheduleSection], own: Sequence[ScheduleSection]
) -> tuple[TenantSchedule, ...]:
    """Return the schedules of a tenant by name; one of its own replaces the tier's of that name."""
    by_name = {each.name: each for each in (*tier, *own)}
    return tuple(_schedule(tenant, by_name[name]) for name in sorted(by_name))


def faults_of(declared: Sequence[ScheduleSection], path: Path) -> Iterator[Fault]:
    """Yield everything that is wrong with a list of schedules that stands at `path`."""
    seen: set[str] = set()
    for index, each in enumerate(declared):
        where = (*path, index)
        for key in ("name", "workflow"):
            if not getattr(each, key):
                yield Fault(where, f"needs a {key}")
        if each.name in seen:
            yield Fault((*where, "name"), f"a schedule before it is called {each.name!r} already")
        seen.add(each.name)
        if each.name and each.workflow:
            yield from _timing_faults(each, where)


def _timing_faults(declared: ScheduleSection, where: Path) -> Iterator[Fault]:
    try:
        _schedule("", declared)
    except DefinitionError as error:
        for key, sentence in zip(error.data["keys"], error.data["problems"], strict=True):
            yield Fault((*where, key) if key else where, sentence)


def _schedule(tenant: str, declared: ScheduleSection) -> TenantSchedule:
    given = msgspec.structs.asdict(declared)
    name, queue, priority = (given.pop(key) for key in ("name", "queue", "priority"))
    timing = Schedule(id=f"{tenant}/{name}", **given)
    return TenantSchedule(name=name, timing=timing, queue=queue, priority=priority)
