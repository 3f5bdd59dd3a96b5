"""The root supervisor: one slot for each tenant, a runner for each that is not at rest.

Invariants: a slot has exactly one runner unless its state is in AT_REST; only the runner changes
the state of its slot, except the step out of AT_REST, which whoever wakes it takes in the same
synchronous piece of code that starts the runner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar
from uuid import UUID

import anyio
import anyio.abc
import structlog

from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.engine.schedules import AskSchedule, ScheduleVerb
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import (
    DeadlineExceeded,
    LeaseHeldElsewhere,
    TenantNotFound,
    TenantStarting,
    Unavailable,
)
from orchestrator.model.ids import CONTROL_SHARD, TenantId, parse_tenant_id
from orchestrator.model.states import RunState
from orchestrator.settings.model import SupervisionSection
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import nodes
from orchestrator.store.tenant.journal import Sent
from supervisors.active import ActiveSet
from supervisors.decide import Policy, Record
from supervisors.drain import Tell, all_at_rest, tell_nobody
from supervisors.elsewhere import Elsewhere
from supervisors.fence import Fence
from supervisors.ground import Ground
from supervisors.history import History
from supervisors.messages import (
    ChangeRun,
    ChangeSchedule,
    Message,
    RepeatRun,
    SendSignal,
    SetPause,
    Stop,
    Submit,
)
from supervisors.patience import REPLY_SECONDS
from supervisors.places import Places, may_sleep
from supervisors.preference import Neighbours
from supervisors.refusals import database_away, removed, shutting_down, suspended
from supervisors.runner import Hooks, Runner
from supervisors.sick import SickList
from supervisors.slot import AT_REST, Slot, SlotState
from supervisors.wake import Waker

HISTORY_SECONDS = 2.0
"""How long the last notes of what became of tenants may take to be stored."""

RETIRE_SECONDS = 1.0
T = TypeVar("T")
log = structlog.get_logger(__name__)


class RootSupervisor:
    """Starts, finds, drains and evicts tenant supervisors. `run` must be under way."""

    def __init__(self, ground: Ground, supervision: SupervisionSection, *, max_awake: int) -> None:
        self._ground = ground
        self._supervision = supervision
        self._slots: dict[TenantId, Slot] = {}
        self._active = ActiveSet()
        self._aliases: Mapping[str, TenantId] = {}
        self._places = Places(
            max_awake,
            residency=supervision.min_residency.total_seconds(),
            clock=ground.clock,
        )
        self.history = History(ground)
        self.sick = SickList()
        self.neighbours = Neighbours(ground.name)
        self._elsewhere = Elsewhere(ground, self.neighbours)
        self._sealed = False
        self._drain_seconds = supervision.drain_timeout.total_seconds()
        self._runner = Runner(
            ground,
            self._places,
            Policy(
                intensity=supervision.restart_intensity,
                period=supervision.restart_period.total_seconds(),
            ),
            Hooks(bury=self._bury, wake=self._wake),
            drain_seconds=self._drain_seconds,
        )
        self._group: anyio.abc.TaskGroup | None = None

    # -- what is declared --------------------------------------------------------------

    def declare(
        self,
        configs: Iterable[TenantConfig],
        aliases: Mapping[str, TenantId],
        *,
        gone: Iterable[TenantId] | None = None,
    ) -> None:
        """Take over a whole set of tenants; with `gone`, the changed ones and those that are gone.

        New ones get a slot, changed ones their new configuration, and those that are gone drain and
        lose their slot. Data is never dropped. `aliases` may change later on.
        """
        wanted = {config.id: config for config in configs}
        self._aliases = aliases
        for tenant, config in wanted.items():
            slot = self._slots.get(tenant)
            if slot is None:
                self._slots[tenant] = self._new_slot(config)
            elif slot.removed or slot.config != config:
                self._reconfigure(slot, config)
        lost = self._slots.keys() - wanted.keys() if gone is None else self._slots.keys() & gone
        for tenant in lost:
            self._remove(self._slots[tenant])

    def _new_slot(self, config: TenantConfig) -> Slot:
        slot = Slot(config, mailbox=self._supervision.mailbox)
        slot.sealed = self._sealed
        slot.attendant = self._places
        slot.note = self._note
        self._active.note(slot)
        return slot

    def _note(self, slot: Slot) -> None:
        self._active.note(slot)
        self.history.note(slot)
        self.sick.note(slot)

    def _reconfigure(self, slot: Slot, config: TenantConfig) -> None:
        before = slot.config
        if before.registration not in {None, config.registration}:
            slot.forget()
        slot.reconfigure(config)
        if slot.removed:
            # It drains because it was removed; the slot lives on when that is done.
            slot.removed = False
        if not config.works:
            self._suspend(slot)
        elif slot.state is SlotState.SUSPENDED:
            slot.state = SlotState.DORMANT
            if slot.incarnation:
                # What it left when it was stopped has waited long enough.
                slot.poke()
                self._wake(slot)
        elif slot.state is SlotState.QUARANTINED and config != before:
            slot.record = Record()
            self._start(slot)

    def _suspend(self, slot: Slot) -> None:
        if slot.state in AT_REST:
            slot.state = SlotState.SUSPENDED
        else:
            slot.ask_to_stop(Stop.SUSPEND)
        slot.refuse_mail(suspended(slot.config))

    def _remove(self, slot: Slot) -> None:
        slot.removed = True
        slot.refuse_mail(removed(slot.config.id))
        if slot.state in AT_REST:
            self._bury(slot)
        else:
            slot.ask_to_stop(Stop.REMOVE)

    def _bury(self, slot: Slot) -> None:
        slot.state = SlotState.GONE
        slot.close()
        del self._slots[slot.config.id]

    # -- finding a tenant --------------------------------------------------------------

    @property
    def slots(self) -> Mapping[TenantId, Slot]:
        """The slots by tenant, to look at."""
        return self._slots

    @property
    def states(self) -> dict[SlotState, int]:
        """How many tenants stand where."""
        found = Counter(slot.state for slot in self._active)
        asleep = len(self._slots) - found.total()
        return {SlotState.DORMANT: asleep + found.pop(SlotState.DORMANT, 0), **found}

    def resolve(self, name: str) -> TenantId:
        """Return the tenant whose id or alias `name` is; InvalidTenantId or TenantNotFound else."""
        found = self._aliases.get(name.casefold())
        if found is not None and found in self._slots:
            return found
        if name in self._slots:
            return TenantId(name)
        raise TenantNotFound(parse_tenant_id(name))

    def slot(self, tenant: TenantId) -> Slot:
        """Return the tenant's slot; TenantNotFound when it is not declared."""
        try:
            return self._slots[tenant]
        except KeyError:
            raise TenantNotFound(tenant) from None

    # -- work --------------------------------------------------------------------------

    async def submit(self, tenant: TenantId, runs: list[StartRun]) -> list[Started]:
        """Have `runs` stored; they are durable when this returns.

        Another node's tenant finds them in its tables.
        """
        slot = self.slot(tenant)
        if slot.state is SlotState.DORMANT and await self._is_elsewhere(slot):
            return await self._submit_elsewhere(slot, runs)
        reply: Reply[list[Started]] = Reply()
        try:
            return await self._ask(tenant, Submit(runs, reply), reply)
        except LeaseHeldElsewhere:  # mail that nobody took
            return await self._submit_elsewhere(slot, runs)

    async def _is_elsewhere(self, slot: Slot) -> bool:
        self._check_database(slot)
        slot.check_open(self._ground.clock.now())
        return await self._elsewhere.owner(slot.config) is not None

    async def _submit_elsewhere(self, slot: Slot, runs: list[StartRun]) -> list[Started]:
        slot.check_open(self._ground.clock.now())
        with anyio.move_on_after(REPLY_SECONDS):
            return await self._elsewhere.submit(slot.config, runs)
        raise _no_answer(slot)

    async def send_signal(self, tenant: TenantId, signal: Sent) -> None:
        """Deliver a signal; it is durable when this returns. RunConflict when the run is over."""
        reply: Reply[None] = Reply()
        await self._ask(tenant, SendSignal(signal, reply), reply)

    async def change_run(self, tenant: TenantId, run: UUID, verb: Verb, reason: str) -> RunState:
        """Cancel, pause, resume or retry a run and return its state.

        Raises RunNotFound, or RunConflict when its state does not allow it.
        """
        reply: Reply[RunState] = Reply()
        message = ChangeRun(run, verb, reason, reply)
        return await self._ask(tenant, message, reply)

    async def repeat_run(self, tenant: TenantId, run: UUID, task: str | None) -> Started:
        """Start a run again, from `task` on or as a whole; RunNotFound or RunConflict else."""
        reply: Reply[list[Started]] = Reply()
        message = RepeatRun(run, task, reply)
        (started,) = await self._ask(tenant, message, reply)
        return started

    async def set_pause(
        self, tenant: TenantId, workflow: str, *, paused: bool, reason: str = ""
    ) -> None:
        """Let a workflow, or with '' the whole tenant, start nothing for now, or again."""
        reply: Reply[None] = Reply()
        message = SetPause(workflow, paused, reason, reply)
        await self._ask(tenant, message, reply)

    async def change_schedule(
        self, tenant: TenantId, name: str, verb: ScheduleVerb
    ) -> list[Started]:
        """Pause, resume or fire a schedule and return what it starts; ScheduleNotFound."""
        reply: Reply[list[Started]] = Reply()
        message = ChangeSchedule(AskSchedule(name, verb, reply))
        return await self._ask(tenant, message, reply)

    async def _ask(self, tenant: TenantId, message: Message, reply: Reply[T]) -> T:
        """Hand mail to the tenant's supervisor, waking it if need be, and return its answer."""
        slot = self.slot(tenant)
        self._check_database(slot)
        slot.post(message, self._ground.clock.now())
        self._wake(slot)
        asked = anyio.current_time()
        try:
            while not reply.settled:
                until = slot.turn.until(asked)
                if anyio.current_time() >= until:
                    waits = slot.state in (SlotState.STARTING, SlotState.BACKOFF)
                    raise _not_served(slot) if waits else _no_answer(slot)
                with anyio.move_on_after(until - anyio.current_time()):
                    await reply.wait()
            return await reply.wait()
        finally:
            reply.give_up()

    def _check_database(self, slot: Slot) -> None:
        """Refuse at once what would have to wait for the database."""
        for reach in self._ground.reaches(slot.config):
            if reach.outage is not None and slot.state is not SlotState.RUNNING:
                slot.check_open(self._ground.clock.now())
                raise database_away(reach.outage)

    def wake(self, tenant: TenantId) -> bool:
        """Let the tenant look for work in its tables; True when it was awake already."""
        slot = self._slots.get(tenant)
        if slot is None or slot.state in (SlotState.QUARANTINED, SlotState.SUSPENDED):
            return False
        awake = slot.state is SlotState.RUNNING
        slot.poke()
        self._wake(slot)
        return awake

    @property
    def ground(self) -> Ground:
        """What all supervisors stand on."""
        return self._ground

    @property
    def unwakeable(self) -> list[TenantId]:
        """The tenants that wait for somebody, not for work, or will look for it when they start."""
        states = (SlotState.DORMANT, SlotState.RUNNING)
        return [s.config.id for s in self._active if s.state not in states or s.removed]

    @property
    def served(self) -> list[TenantId]:
        """The tenants whose lease this node has, or is about to take or to give back."""
        return [s.config.id for s in self._active if s.state not in AT_REST or s.held is not None]

    def serves(self, tenant: TenantId) -> bool:
        """Return whether the tenant is awake here, or on its way to be or not to be."""
        slot = self._slots.get(tenant)
        return slot is not None and slot.state not in AT_REST

    def hand_over(self) -> None:
        """Let go of idle tenants that another node is better for; it takes them when they wake."""
        for slot in () if self.neighbours.alone else self._active:
            movable = may_sleep(slot) and self._places.old_enough(slot)
            if movable and self.neighbours.better_for(slot.config.id) is not None:
                slot.ask_to_stop(Stop.HAND_OVER)

    def _wake(self, slot: Slot) -> None:
        if slot.state is SlotState.DORMANT:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        if self._group is not None and not self._sealed:
            slot.state = SlotState.STARTING
            self._group.start_soon(self._runner.run, slot, name=f"tenant {slot.config.id}")

    # -- life --------------------------------------------------------------------------

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; tenants that a dead node left are woken first."""
        fence = Fence(self._ground.standing, cut=self._cut_off, look=self._runner.look_again)
        try:
            with fence.up():
                async with anyio.create_task_group() as group:
                    self._group = group
                    group.start_soon(self._places.run)
                    for shard in (CONTROL_SHARD, *self._ground.shards.others):
                        breaker = self._ground.breaker_of(shard)
                        group.start_soon(breaker.run, self._runner.look_again)
                    group.start_soon(self.history.run)
                    await group.start(Waker(self, self._ground, self.neighbours).run)
                    task_status.started()
                    await anyio.sleep_forever()
        finally:
            self._group = None
            for slot in self._slots.values():
                slot.sealed = True
                slot.refuse_mail(shutting_down())
                slot.close()

    async def drain(self, tell: Tell = tell_nobody) -> None:
        """Take no more work, and return when every tenant is at rest; `tell` hears of each.

        What runs may end within its time. A tenant that does not come to rest even then is left to
        those who find it orphaned.
        """
        self._sealed = True
        for slot in self._slots.values():
            slot.sealed = True
            slot.refuse_mail(shutting_down())
            if slot.state not in AT_REST:
                slot.ask_to_stop(Stop.DRAIN)
        await self._retire()
        given_up = await all_at_rest(
            lambda: self.served, self._runner.moved, runs_have=self._drain_seconds, tell=tell
        )
        for tenant in given_up:
            log.warning(
                "tenant.drain_given_up", tenant=tenant, state=str(self._slots[tenant].state)
            )
        with anyio.move_on_after(HISTORY_SECONDS):
            await self.history.flush()

    async def _retire(self) -> None:
        """Tell the other nodes not to leave tenants for us; best effort, since they notice."""
        if self._ground.standing.outage is not None:
            return
        try:
            with anyio.move_on_after(RETIRE_SECONDS):
                async with self._ground.control.acquire() as control:
                    await nodes.retire(control, self._ground.node)
        except (Unavailable, *DRIVER_ERRORS) as error:
            log.warning("node.not_retired", error=str(error))

    def _cut_off(self) -> None:
        """End all incarnations where they stand: others may have their tenants."""
        for slot in self._slots.values():
            if slot.life is not None:
                slot.life.cancel()

    def probe(self) -> None:
        """Start the quarantined tenants whose probe is due."""
        now = self._ground.clock.now()
        for slot in self._active:
            due = slot.retry_at is not None and slot.retry_at <= now
            if slot.state is SlotState.QUARANTINED and due and not self._sealed:
                self._start(slot)


def _no_answer(slot: Slot) -> DeadlineExceeded:
    return DeadlineExceeded(
        _silence(slot),
        hint="the outcome is unknown: send it again with the same idempotency key",
    )


def _not_served(slot: Slot) -> TenantStarting:
    """Say that the mail lies where it was put: nobody has come to serve the tenant."""
    return TenantStarting(
        _silence(slot), hint="nothing was stored; try again later", retry_after=REPLY_SECONDS
    )


def _silence(slot: Slot) -> str:
    because = f": {slot.last_error}" if slot.last_error else ""
    return (
        f"tenant {slot.config.id!r} is {slot.state} and did not answer in "
        f"{REPLY_SECONDS:g} s{because}"
    )
