"""Fires the tenant's schedules: each fire becomes a run, or a reason why not, in one flush.

Decisions are synchronous and `orchestrator.settings.schedule` makes them; what needs the tables
first (declarations that changed, a pause) is done by one loop, woken for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import assert_never
from uuid import UUID

import anyio
import msgspec
import structlog

from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import InsulaError, ScheduleNotFound
from orchestrator.settings.schedule import Fire, Hold, Skip, decide, due, next_fire, starts_at
from orchestrator.settings.schedules import TenantSchedule
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.tenant.journal import Fired
from orchestrator.store.tenant.schedules import Declared, OwnedSchedules, Stored

BY_HAND = "by hand"
REASON_CHARACTERS = 500

log = structlog.get_logger(__name__)

Answer = Reply[list[Started]]


class ScheduleVerb(StrEnum):
    """What can be done to a schedule."""

    PAUSE = "pause"
    RESUME = "resume"
    FIRE = "fire"


@dataclass(frozen=True, slots=True)
class AskSchedule:
    """Something to do to one schedule; answered, with the run if it starts one, when durable."""

    name: str
    verb: ScheduleVerb
    reply: Answer


@dataclass(frozen=True, slots=True)
class Hooks:
    """The engine, as schedules see it.

    `start` adds a run in the flush that says so, and raises as `submit` answers; `note` lets the
    next flush say what became of a fire that starts no run; `arm` has them looked at again then.
    """

    now: Callable[[], datetime]
    start: Callable[[StartRun, Fired, Answer | None], UUID]
    note: Callable[[Fired], None]
    arm: Callable[[datetime | None], None]


class Entry:
    """One schedule here. `last`: all fires up to it are dealt with, in memory at least."""

    __slots__ = ("active", "by_hand", "declared", "held", "last", "next_due", "stale", "timing")

    def __init__(self, declared: TenantSchedule, stored: Stored, last: datetime) -> None:
        self.declared = declared
        self.timing = msgspec.structs.replace(declared.timing, paused=stored.paused)
        self.last = last
        self.active = set(stored.active)
        self.held = stored.held
        self.by_hand = last
        self.stale = False
        self.next_due: datetime | None = None
        self.aim()

    def aim(self) -> None:
        """Work out when the next fire starts its run."""
        fire = next_fire(self.timing, self.last)
        self.next_due = None if fire is None else starts_at(self.timing, fire)

    @property
    def unfinished(self) -> int:
        """How many runs and fires a new fire would overlap with."""
        return len(self.active) + (self.held is not None)

    def set_paused(self, *, paused: bool) -> None:
        """Let it fire no more, or again."""
        self.timing = msgspec.structs.replace(self.timing, paused=paused)
        self.aim()

    def carry_on(self, before: Entry) -> None:
        """Take over where the same schedule stands: memory is ahead of the tables."""
        self.active = before.active
        self.held = before.held
        self.last = max(self.last, before.last)
        self.by_hand = before.by_hand
        self.set_paused(paused=before.timing.paused)


class Schedules:
    """All schedules of one tenant under one epoch."""

    def __init__(
        self, config: Callable[[], TenantConfig], rows: OwnedSchedules, hooks: Hooks
    ) -> None:
        self._config = config
        self._rows = rows
        self._hooks = hooks
        self._entries: dict[str, Entry] = {}
        self._fires: dict[UUID, Fired] = {}
        self._ended: set[UUID] = set()
        self._asks: list[AskSchedule] = []
        self._wanted = anyio.Event()
        self._working = False

    # -- asked -------------------------------------------------------------------------

    def ask(self, ask: AskSchedule) -> None:
        """Pause, resume or fire a schedule."""
        self._asks.append(ask)
        self._wanted.set()

    def reconfigured(self) -> None:
        """Take over changed declarations soon; until then nothing that changed fires."""
        declared = {each.name: each for each in self._config().schedules}
        for name, entry in self._entries.items():
            entry.stale = declared.get(name) != entry.declared
        if any(e.stale for e in self._entries.values()) or declared.keys() - self._entries.keys():
            self._wanted.set()
            self._arm()

    @property
    def busy(self) -> bool:
        """True while there is anything to do here before the next fire."""
        return bool(self._asks or self._working or self._wanted.is_set())

    def give_up(self, error: InsulaError) -> None:
        """Answer all that was asked and not done."""
        for ask in self._asks:
            ask.reply.fail(error)

    # -- the loop ----------------------------------------------------------------------

    async def recover(self) -> None:
        """Compare what is declared with what is stored, and take over what a former owner left."""
        await self._sync()

    async def run(self, done: Callable[[], None]) -> None:
        """Work whenever woken, until cancelled; `done` is called after each piece of work."""
        for entry in self._entries.values():
            self._let_go(entry)
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            self._working = True
            await self._sync()
            while self._asks:
                await self._obey(self._asks[0])
                del self._asks[0]
            self._working = False
            done()

    async def _sync(self) -> None:
        declared = {each.name: each for each in self._config().schedules}
        stored = {row.name: row for row in await self._rows.stored(list(declared))}
        now = self._hooks.now()
        entries: dict[str, Entry] = {}
        wanted: list[Declared] = []
        for name, each in declared.items():
            row = stored[name]
            spec = msgspec.json.encode(each.spec).decode()
            same = row.spec == spec
            since = each.since or (row.last_fire_at if same else None) or now
            last = max(since, row.last_fire_at or since)
            entries[name] = Entry(each, row, last)
            wanted.append(Declared(name, spec, last))
            if same and last == row.last_fire_at:
                stored.pop(name)
        if stored:
            await self._rows.sync(wanted)
        self._replace(entries)

    def _replace(self, entries: dict[str, Entry]) -> None:
        for name, entry in entries.items():
            if name in self._entries:
                entry.carry_on(self._entries[name])
            entry.active -= self._ended
        self._ended.clear()
        self._entries = entries
        self._arm()
        self.reconfigured()  # what was declared while the tables were read

    async def _obey(self, ask: AskSchedule) -> None:
        entry = self._entries.get(ask.name)
        if entry is None:
            ask.reply.fail(not_found(self._config(), ask.name))
            return
        match ask.verb:
            case ScheduleVerb.FIRE:
                self._fire_by_hand(entry, ask.reply)
            case ScheduleVerb.PAUSE | ScheduleVerb.RESUME as verb:
                await self._set_paused(entry, paused=verb is ScheduleVerb.PAUSE)
                ask.reply.answer([])
            case _:
                assert_never(ask.verb)

    async def _set_paused(self, entry: Entry, *, paused: bool) -> None:
        if entry.timing.paused is paused:
            return
        # What passed while it was paused is not caught up.
        last = entry.last if paused else max(entry.last, self._hooks.now())
        await self._rows.pause(entry.declared.name, paused=paused, last=last)
        entry.last = max(entry.last, last)
        entry.set_paused(paused=paused)
        self._arm()

    # -- firing ------------------------------------------------------------------------

    def tick(self) -> None:
        """Fire what is due."""
        now = self._hooks.now()
        for entry in self._entries.values():
            if not entry.stale and entry.next_due is not None and entry.next_due <= now:
                self._fire_due(entry, now)
        self._arm()

    def ended(self, run: UUID) -> None:
        """Note the end of a run; a fire that waited for it goes on."""
        self._fires.pop(run, None)
        if self._working:
            self._ended.add(run)  # what is being read from the tables may not know
        for entry in self._entries.values():
            if run in entry.active:
                entry.active.remove(run)
                self._let_go(entry)

    def refused(self, run: UUID, error: Exception) -> None:
        """Note that the database would not store the run of a fire."""
        fired = self._fires.get(run)
        if fired is not None:
            reason = _bounded(f"the database refused the run: {error}")
            self._hooks.note(msgspec.structs.replace(fired, outcome="refused", reason=reason))
        self.ended(run)

    def _fire_due(self, entry: Entry, now: datetime) -> None:
        found = due(entry.timing, entry.last, now)
        missed = f"{found.passed_over} earlier were missed" if found.passed_over else ""
        for fire in found.fires:
            self._decide(entry, fire, missed)
            missed = ""
        if missed and found.last is not None:
            self._note(entry.declared.name, found.last, "missed", f"{found.passed_over} in a row")
        entry.last = found.last or entry.last
        entry.aim()

    def _decide(self, entry: Entry, fire: datetime, reason: str) -> None:
        name = entry.declared.name
        decision = decide(entry.timing, fire, entry.unfinished)
        match decision:
            case Fire():
                self._start(entry, Fired(name, fire, "started", reason))
            case Skip():
                self._note(name, fire, "skipped", decision.reason)
            case Hold():
                entry.held = fire
                self._note(name, fire, "held", "waits until the earlier run has ended")
            case _:
                assert_never(decision)

    def _let_go(self, entry: Entry) -> None:
        if entry.held is not None and not entry.active:
            fire, entry.held = entry.held, None
            self._decide(entry, fire, "waited until the earlier run had ended")

    def _fire_by_hand(self, entry: Entry, reply: Answer) -> None:
        # Its name is the moment, so no two may have the same.
        moment = max(self._hooks.now(), entry.by_hand + timedelta(microseconds=1))
        entry.by_hand = moment
        fired = Fired(entry.declared.name, moment, "started", BY_HAND, advances=False)
        self._start(entry, fired, reply)

    def _start(self, entry: Entry, fired: Fired, reply: Answer | None = None) -> None:
        declared, timing = entry.declared, entry.timing
        run = StartRun(
            workflow=timing.workflow,
            input=timing.input,
            key=key_of(declared.name, fired.fire_at),
            queue=declared.queue,
            priority=declared.priority,
        )
        fired = msgspec.structs.replace(fired, workflow=run.workflow, key=run.key)
        try:
            started = self._hooks.start(run, fired, reply)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what became of the fire
            if reply is not None:
                reply.fail(error)
                return
            log.warning("fire.refused", schedule=declared.name, error=str(error))
            self._note(declared.name, fired.fire_at, "refused", str(error))
            return
        entry.active.add(started)
        self._fires[started] = fired

    def _note(self, name: str, fire: datetime, outcome: str, reason: str) -> None:
        self._hooks.note(Fired(name, fire, outcome, _bounded(reason)))

    def _arm(self) -> None:
        dues = (e.next_due for e in self._entries.values() if not e.stale)
        self._hooks.arm(min((each for each in dues if each is not None), default=None))


def _bounded(reason: str) -> str:
    return reason.replace("\0", "\\0")[:REASON_CHARACTERS]


def not_found(config: TenantConfig, name: str) -> ScheduleNotFound:
    """Return the error for a schedule that the tenant does not have."""
    return ScheduleNotFound(
        config.id,
        f"tenant {config.id!r} has no schedule {name!r}",
        hint=f"declared: {', '.join(each.name for each in config.schedules) or 'none'}",
    )


def key_of(schedule: str, fire: datetime) -> str:
    """Return the key of the run that a fire starts.

    >>> key_of("nightly", datetime(2026, 1, 1, 3, tzinfo=UTC))
    'schedule:nightly:2026-01-01T03:00:00Z'
    """
    return f"schedule:{schedule}:{fire.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"
