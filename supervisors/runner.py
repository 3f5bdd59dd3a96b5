"""The task behind every tenant that is not at rest: one incarnation after the other.

It alone changes the state of its slot. `decide` says what follows when an incarnation has ended;
this does it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from operator import eq

import anyio
import structlog
from structlog.contextvars import bound_contextvars

from orchestrator.engine.pulse import Pulse
from orchestrator.model.errors import LeaseHeldElsewhere, Unavailable
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import leases
from supervisors.decide import Ended, Failure, Policy, Quarantine, Rest, Restart, decide
from supervisors.drain import LET_GO_SECONDS
from supervisors.ground import Ground
from supervisors.guard import guard
from supervisors.messages import Stop
from supervisors.places import Places
from supervisors.refusals import database_away, database_full, quarantined, shutting_down, suspended
from supervisors.slot import Slot, SlotState
from supervisors.starts import Starts
from supervisors.tenant import TenantSupervisor

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a runner asks of the root: to forget a slot, and to wake one that came to rest."""

    bury: Callable[[Slot], None]
    wake: Callable[[Slot], None]


class Runner:
    """Runs slots until they are at rest. `moved` beats whenever one of them may have come there."""

    def __init__(
        self, ground: Ground, places: Places, policy: Policy, hooks: Hooks, *, drain_seconds: float
    ) -> None:
        self.moved = Pulse()
        self._ground = ground
        self._places = places
        self._policy = policy
        self._hooks = hooks
        self._drain_seconds = drain_seconds
        self._starts: dict[str, Starts] = {}
        self._unserved: set[Slot] = set()
        for shard in ground.shards.others.values():
            shard.reach.listen(self.look_again)

    async def run(self, slot: Slot) -> None:
        """Run one incarnation after the other until the tenant is at rest."""
        with bound_contextvars(tenant=slot.config.id):
            while True:
                await self._until_it_can_serve(slot)
                slot.incarnation += 1
                slot.awake_since = math.inf
                pause = self._after(slot, await self._life(slot))
                self.moved.beat()
                if pause is None:
                    await self._let_go(slot)
                    return
                with anyio.move_on_after(pause):
                    await self._wanted(slot)

    def look_again(self) -> None:
        """Have those look around that wait for the keeper's word."""
        for starts in self._starts.values():
            starts.look_again()
        for slot in self._unserved:
            slot.look()

    # -- one turn ----------------------------------------------------------------------

    async def _until_it_can_serve(self, slot: Slot) -> None:
        """Wait out an outage, or the time in which the node may not serve.

        The keeper probes the database for all tenants: none of them tries before it has answered,
        and while the server is full, one at a time.
        """
        self._unserved.add(slot)
        try:
            while slot.stop_wanted is None and not self._can_serve(slot):
                if slot.doubted is None and self._is_away(slot):
                    slot.doubted = self._silent(slot)
                self._refuse(slot)
                slot.state = SlotState.BACKOFF
                await slot.attention()
        finally:
            self._unserved.discard(slot)
        slot.doubted = None
        slot.state = SlotState.STARTING

    def _can_serve(self, slot: Slot) -> bool:
        """Return whether all servers that the tenant needs answer, and have since it doubted."""
        if self._is_away(slot):
            return False
        if slot.doubted is not None and any(map(eq, self._words(slot), slot.doubted)):
            return False
        return self._ground.breaker_of(slot.config.shard).admits(slot)

    def _is_away(self, slot: Slot) -> bool:
        if not self._ground.standing.serves:
            return True
        return any(reach.outage is not None for reach in self._ground.reaches(slot.config))

    def _refuse(self, slot: Slot) -> None:
        """Tell whoever wrote to the tenant which server can not be had, and why."""
        full = self._ground.breaker_of(slot.config.shard).full
        for reach in self._ground.reaches(slot.config):
            if reach.outage is not None:
                slot.last_error = reach.outage.told
                slot.refuse_mail(database_away(reach.outage))
                return
        if full is not None:
            slot.last_error, slot.retry_at = full, None
            slot.refuse_mail(database_full(full))

    def _words(self, slot: Slot) -> tuple[int, ...]:
        return tuple(reach.words for reach in self._ground.reaches(slot.config))

    def _silent(self, slot: Slot) -> tuple[int, ...]:
        """Return the last words of those that are to say another one; -1 for who answers."""
        standing, *others = self._ground.reaches(slot.config)
        own = -1 if self._ground.standing.serves else standing.words
        return (own, *(-1 if reach.outage is None else reach.words for reach in others))

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
        self.moved.beat()

    async def _incarnation(self, slot: Slot) -> None:
        if not await self._places.take(slot):
            return
        try:
            supervisor = TenantSupervisor(
                slot, self._ground, self._starts_of(slot), drain_seconds=self._drain_seconds
            )
            await supervisor.run()
        finally:
            self._places.leave(slot)
            self.moved.beat()

    def _starts_of(self, slot: Slot) -> Starts:
        """Return the gate to the tenant's server: those of a slow one hold up nobody else."""
        shard = slot.config.shard
        if shard not in self._starts:
            self._starts[shard] = Starts(*self._ground.reaches(slot.config))
        return self._starts[shard]

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
        if wish is not None and not wish.yields:
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
                full = self._ground.breaker_of(slot.config.shard).full is not None
                if ended.failure is Failure.INFRASTRUCTURE and full:
                    return 0.0  # the breaker tells when it may try again
                slot.retry_at = self._ground.clock.now() + timedelta(seconds=delay)
                slot.state = SlotState.BACKOFF
                if ended.failure is Failure.INFRASTRUCTURE:
                    slot.doubted = self._words(slot)
                    for reach in self._ground.reaches(slot.config):
                        reach.doubt()
                return delay
            case Quarantine(delay=delay):
                self._quarantine(slot, delay)
        return None

    def _obey(self, slot: Slot, wish: Stop) -> None:
        """Come to rest as it was asked for. What was asked may have been taken back meanwhile."""
        if slot.removed:
            self._hooks.bury(slot)
        elif not slot.config.works:
            slot.state = SlotState.SUSPENDED
            slot.refuse_mail(suspended(slot.config))
        elif slot.sealed:
            slot.state = SlotState.DORMANT
            slot.refuse_mail(shutting_down())
        else:
            slot.state = SlotState.DORMANT
            if wish is not Stop.RENEW:
                log.info("tenant.stop_taken_back", was=str(wish))
            slot.poke()
            self._hooks.wake(slot)

    def _quarantine(self, slot: Slot, delay: float) -> None:
        slot.retry_at = self._ground.clock.now() + timedelta(seconds=delay)
        slot.state = SlotState.QUARANTINED
        log.error("tenant.quarantined", error=slot.last_error, probe_in=delay)
        slot.refuse_mail(quarantined(slot.config.id, slot.last_error, retry_after=delay))
