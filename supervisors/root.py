"""The root supervisor: one slot for each tenant, a runner for each that is not at rest.

Invariants: a slot has exactly one runner unless its state is in AT_REST; only the runner changes
the state of its slot, except the step out of AT_REST, which whoever wakes it takes in the same
synchronous piece of code that starts the runner.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import anyio
import anyio.abc
import structlog
from structlog.contextvars import bound_contextvars

from orchestrator.engine.control import Verb
from orchestrator.engine.pulse import Pulse
from orchestrator.engine.reply import Reply
from orchestrator.engine.schedules import AskSchedule, ScheduleVerb
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import (
    DatabaseUnavailable,
    DeadlineExceeded,
    InsulaError,
    LeaseHeldElsewhere,
    ShuttingDown,
    TenantNotFound,
    TenantQuarantined,
    TenantRemoved,
    TenantSuspended,
    Unavailable,
)
from orchestrator.model.ids import TenantId, parse_tenant_id
from orchestrator.model.states import RunState
from orchestrator.settings.model import SupervisionSection
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import leases
from orchestrator.store.tenant.journal import Sent
from supervisors.decide import Ended, Failure, Policy, Quarantine, Record, Rest, Restart, decide
from supervisors.fence import Fence
from supervisors.ground import Ground
from supervisors.guard import guard
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
from supervisors.places import Places
from supervisors.slot import AT_REST, Slot, SlotState
from supervisors.standing import Outage
from supervisors.stirring import Stirring
from supervisors.tenant import TenantSupervisor
from supervisors.wake import Waker

REPLY_SECONDS = 15.0
"""How long a caller waits for an answer before it is told that the outcome is unknown."""

STARTS_AT_ONCE = 8
HISTORY_SECONDS = 2.0
"""How long the last notes of what became of tenants may take to be stored."""

LET_GO_SECONDS = 10.0
"""How long connections and leases may take to be given back, after the time that runs have."""

T = TypeVar("T")
log = structlog.get_logger(__name__)


class RootSupervisor:
    """Starts, finds, drains and evicts tenant supervisors. `run` must be under way."""

    def __init__(self, ground: Ground, supervision: SupervisionSection, *, max_awake: int) -> None:
        self._ground = ground
        self._supervision = supervision
        self._slots: dict[TenantId, Slot] = {}
        self._stirring = Stirring()
        self._aliases: Mapping[str, TenantId] = {}
        self._places = Places(
            max_awake,
            residency=supervision.min_residency.total_seconds(),
            clock=ground.clock,
        )
        self.history = History(ground)
        self._unserved: set[Slot] = set()
        self._moved = Pulse()
        self._starts = anyio.CapacityLimiter(STARTS_AT_ONCE)
        self._sealed = False
        self._drain_seconds = supervision.drain_timeout.total_seconds()
        self._policy = Policy(
            intensity=supervision.restart_intensity,
            period=supervision.restart_period.total_seconds(),
        )
        self._group: anyio.abc.TaskGroup | None = None

    # -- what is declared --------------------------------------------------------------

    def declare(self, configs: Iterable[TenantConfig], aliases: Mapping[str, TenantId]) -> None:
        """Take over a whole set of tenants.

        New ones get a slot, changed ones their new configuration, and those that are gone drain and
        lose their slot. Data is never dropped.
        """
        wanted = {config.id: config for config in configs}
        self._aliases = aliases
        for tenant, config in wanted.items():
            slot = self._slots.get(tenant)
            if slot is None:
                self._slots[tenant] = self._new_slot(config)
            elif slot.removed or slot.config != config:
                self._reconfigure(slot, config)
        for tenant in self._slots.keys() - wanted.keys():
            self._remove(self._slots[tenant])

    def _new_slot(self, config: TenantConfig) -> Slot:
        slot = Slot(config, mailbox=self._supervision.mailbox)
        slot.sealed = self._sealed
        slot.attendant = self._places
        slot.note = self._note
        self._stirring.note(slot)
        return slot

    def _note(self, slot: Slot) -> None:
        self._stirring.note(slot)
        self.history.note(slot)

    def _reconfigure(self, slot: Slot, config: TenantConfig) -> None:
        before = slot.config
        slot.reconfigure(config)
        if slot.removed:
            # It drains because it was removed; the slot lives on when that is done.
            slot.removed = False
        if not config.enabled:
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
        slot.refuse_mail(TenantSuspended(slot.config.id))

    def _remove(self, slot: Slot) -> None:
        slot.removed = True
        slot.refuse_mail(TenantRemoved(f"tenant {slot.config.id!r} was removed"))
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
        found = Counter(slot.state for slot in self._stirring)
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
        """Have `runs` stored; they are durable when this returns."""
        reply: Reply[list[Started]] = Reply()
        return await self._ask(tenant, Submit(runs, reply, self._deadline()), reply)

    async def send_signal(self, tenant: TenantId, signal: Sent) -> None:
        """Deliver a signal; it is durable when this returns. RunConflict when the run is over."""
        reply: Reply[None] = Reply()
        await self._ask(tenant, SendSignal(signal, reply, self._deadline()), reply)

    async def change_run(self, tenant: TenantId, run: UUID, verb: Verb, reason: str) -> RunState:
        """Cancel, pause, resume or retry a run and return its state.

        Raises RunNotFound, or RunConflict when its state does not allow it.
        """
        reply: Reply[RunState] = Reply()
        message = ChangeRun(run, verb, reason, reply, self._deadline())
        return await self._ask(tenant, message, reply)

    async def repeat_run(self, tenant: TenantId, run: UUID, task: str | None) -> Started:
        """Start a run again, from `task` on or as a whole; RunNotFound or RunConflict else."""
        reply: Reply[list[Started]] = Reply()
        message = RepeatRun(run, task, reply, self._deadline())
        (started,) = await self._ask(tenant, message, reply)
        return started

    async def set_pause(self, tenant: TenantId, workflow: str, *, paused: bool) -> None:
        """Let a workflow, or with '' the whole tenant, start nothing for now, or again."""
        reply: Reply[None] = Reply()
        await self._ask(tenant, SetPause(workflow, paused, reply, self._deadline()), reply)

    async def change_schedule(
        self, tenant: TenantId, name: str, verb: ScheduleVerb
    ) -> list[Started]:
        """Pause, resume or fire a schedule and return what it starts; ScheduleNotFound."""
        reply: Reply[list[Started]] = Reply()
        message = ChangeSchedule(AskSchedule(name, verb, reply), self._deadline())
        return await self._ask(tenant, message, reply)

    def _deadline(self) -> float:
        return self._ground.clock.monotonic() + REPLY_SECONDS

    async def _ask(self, tenant: TenantId, message: Message, reply: Reply[T]) -> T:
        """Hand mail to the tenant's supervisor, waking it if need be, and return its answer."""
        slot = self.slot(tenant)
        self._check_database(slot)
        slot.post(message)
        self._wake(slot)
        with anyio.move_on_after(REPLY_SECONDS):
            return await reply.wait()
        because = f": {slot.last_error}" if slot.last_error else ""
        raise DeadlineExceeded(
            f"tenant {tenant!r} is {slot.state} and did not answer in {REPLY_SECONDS:g} s{because}",
            hint="the outcome is unknown: send it again with the same idempotency key",
        )

    def _check_database(self, slot: Slot) -> None:
        """Refuse at once what would have to wait for the database."""
        outage = self._ground.standing.outage
        if outage is not None and slot.state is not SlotState.RUNNING:
            slot.check_open()
            raise _database_away(outage)

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
    def unwakeable(self) -> list[TenantId]:
        """The tenants that wait for somebody, not for work, or will look for it when they start."""
        states = (SlotState.DORMANT, SlotState.RUNNING)
        return [s.config.id for s in self._stirring if s.state not in states or s.removed]

    @property
    def served(self) -> list[TenantId]:
        """The tenants whose lease this node has, or is about to take or to give back."""
        return [s.config.id for s in self._stirring if s.state not in AT_REST or s.held is not None]

    def knows(self, tenant: TenantId) -> bool:
        """Return whether the tenant is declared."""
        return tenant in self._slots

    def _wake(self, slot: Slot) -> None:
        if slot.state is SlotState.DORMANT:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        if self._group is not None and not self._sealed:
            slot.state = SlotState.STARTING
            self._group.start_soon(self._runner, slot, name=f"tenant {slot.config.id}")

    # -- life --------------------------------------------------------------------------

    async def run(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; tenants that a dead node left are woken first."""
        fence = Fence(self._ground.standing, cut=self._cut_off, look=self._look_again)
        try:
            with fence.up():
                async with anyio.create_task_group() as group:
                    self._group = group
                    group.start_soon(self._places.run)
                    group.start_soon(self.history.run)
                    await group.start(Waker(self, self._ground).run)
                    task_status.started()
                    await anyio.sleep_forever()
        finally:
            self._group = None
            for slot in self._slots.values():
                slot.sealed = True
                slot.refuse_mail(_shutting_down())
                slot.close()

    async def drain(self) -> None:
        """Take no more work, and return when every tenant is at rest.

        What runs may end within its time. A tenant that does not come to rest even then is left to
        those who find it orphaned.
        """
        self._sealed = True
        for slot in self._slots.values():
            slot.sealed = True
            slot.refuse_mail(_shutting_down())
            if slot.state not in AT_REST:
                slot.ask_to_stop(Stop.DRAIN)
        with anyio.move_on_after(self._drain_seconds + LET_GO_SECONDS):
            while self._unsettled:
                await self._moved.wait()
        for tenant in self._unsettled:
            log.warning(
                "tenant.drain_given_up", tenant=tenant, state=str(self._slots[tenant].state)
            )
        with anyio.move_on_after(HISTORY_SECONDS):
            await self.history.flush()

    @property
    def _unsettled(self) -> list[TenantId]:
        return self.served

    def _cut_off(self) -> None:
        """End all incarnations where they stand: others may have their tenants."""
        for slot in self._slots.values():
            if slot.life is not None:
                slot.life.cancel()

    def _look_again(self) -> None:
        for slot in self._unserved:
            slot.look()

    async def _runner(self, slot: Slot) -> None:
        """Run one incarnation after the other until the tenant is at rest."""
        with bound_contextvars(tenant=slot.config.id):
            while True:
                await self._until_it_can_serve(slot)
                slot.incarnation += 1
                slot.awake_since = math.inf
                pause = self._after(slot, await self._life(slot))
                self._moved.beat()
                if pause is None:
                    await self._let_go(slot)
                    return
                with anyio.move_on_after(pause):
                    await self._wanted(slot)

    async def _until_it_can_serve(self, slot: Slot) -> None:
        """Wait out an outage, or the time in which the node may not serve.

        The keeper probes the database for all tenants: none of them tries before it has answered.
        """
        standing = self._ground.standing
        self._unserved.add(slot)
        try:
            while slot.stop_wanted is None and not (
                standing.serves and standing.words != slot.doubted
            ):
                slot.doubted = standing.words if slot.doubted is None else slot.doubted
                if standing.outage is not None:
                    slot.last_error = standing.outage.error
                    slot.refuse_mail(_database_away(standing.outage))
                slot.state = SlotState.BACKOFF
                await slot.attention()
        finally:
            self._unserved.discard(slot)
        slot.doubted = None
        slot.state = SlotState.STARTING

    async def _life(self, slot: Slot) -> Ended:
        with anyio.CancelScope() as slot.life:
            ended = await guard(lambda: self._incarnation(slot))
        fenced, slot.life = slot.life.cancel_called, None
        if fenced:
            error = "this node could not renew its row in time, so others may serve the tenant"
            return Ended(failure=Failure.INFRASTRUCTURE, error=error)
        return ended

    async def _let_go(self, slot: Slot) -> None:
        """Give back a lease that a bad end left behind: nobody here goes on where it stopped.

        Best effort: without an answer the lease is the node's until that ends. By now the slot may
        be awake again, under a newer epoch, which this does not touch.
        """
        epoch = slot.held
        if epoch is None:
            return
        try:
            with anyio.fail_after(LET_GO_SECONDS):
                async with self._ground.control.acquire() as control:
                    await leases.abandon(control, slot.config.id, self._ground.node, epoch)
        except (Unavailable, *DRIVER_ERRORS) as error:
            log.warning("tenant.lease_kept", error=str(error))
        if slot.held == epoch:
            slot.held = None
        self._moved.beat()

    async def _incarnation(self, slot: Slot) -> None:
        if not await self._places.take(slot):
            return
        try:
            supervisor = TenantSupervisor(
                slot, self._ground, self._starts, drain_seconds=self._drain_seconds
            )
            await supervisor.run()
        finally:
            self._places.leave(slot)
            self._moved.beat()

    async def _wanted(self, slot: Slot) -> None:
        """Return when a resting supervisor is wanted to stop.

        Mail alone does not cut a backoff short.
        """
        while slot.stop_wanted is None:
            await slot.attention()

    def _after(self, slot: Slot, ended: Ended) -> float | None:
        """Set the state that follows, without an await.

        Return the seconds to wait, or None to end the runner.
        """
        now = self._ground.clock.monotonic()
        ended = replace(ended, healthy_seconds=max(0.0, now - slot.awake_since))
        chance = random.random()  # noqa: S311 - jitter, not a secret
        decision, slot.record = decide(ended, slot.record, self._policy, now=now, chance=chance)
        slot.last_error = ended.error or slot.last_error
        wish, slot.stop_wanted = slot.stop_wanted, None
        if wish is not None and wish is not Stop.EVICT:
            self._obey(slot, wish)
            return None
        match decision:
            case Rest():
                if ended.failure is Failure.LEASE:
                    # The owner looks for the work that a poke told of.
                    slot.poked, slot.held = False, None
                    slot.refuse_mail(LeaseHeldElsewhere(slot.config.id, ended.error or ""))
                if slot.has_mail:
                    return 0.0
                slot.state = SlotState.DORMANT
            case Restart(delay=delay):
                slot.retry_at = self._ground.clock.now() + timedelta(seconds=delay)
                slot.state = SlotState.BACKOFF
                if ended.failure is Failure.INFRASTRUCTURE:
                    slot.doubted = self._ground.standing.words
                    self._ground.standing.doubt()
                return delay
            case Quarantine(delay=delay):
                self._quarantine(slot, delay)
        return None

    def _obey(self, slot: Slot, wish: Stop) -> None:
        """Come to rest as it was asked for. What was asked may have been taken back meanwhile."""
        if slot.removed:
            self._bury(slot)
        elif not slot.config.enabled:
            slot.state = SlotState.SUSPENDED
            slot.refuse_mail(TenantSuspended(slot.config.id))
        elif self._sealed:
            slot.state = SlotState.DORMANT
            slot.refuse_mail(_shutting_down())
        else:
            slot.state = SlotState.DORMANT
            log.info("tenant.stop_taken_back", was=str(wish))
            slot.poke()
            self._wake(slot)

    def _quarantine(self, slot: Slot, delay: float) -> None:
        slot.retry_at = self._ground.clock.now() + timedelta(seconds=delay)
        slot.state = SlotState.QUARANTINED
        log.error("tenant.quarantined", error=slot.last_error, probe_in=delay)
        error: InsulaError = TenantQuarantined(
            f"tenant {slot.config.id!r} is quarantined: {slot.last_error}",
            hint="mend the cause; the next probe or a reload that touches the tenant tries again",
            retry_after=delay,
        )
        slot.refuse_mail(error)

    def probe(self) -> None:
        """Start the quarantined tenants whose probe is due."""
        now = self._ground.clock.now()
        for slot in self._stirring:
            due = slot.retry_at is not None and slot.retry_at <= now
            if slot.state is SlotState.QUARANTINED and due and not self._sealed:
                self._start(slot)


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("the daemon is shutting down", retry_after=5.0)


def _database_away(outage: Outage) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"the database has not answered since {outage.since:%H:%M:%S} UTC: {outage.error}",
        hint="nothing was stored; try again when `insula status` says that it answers",
    )
