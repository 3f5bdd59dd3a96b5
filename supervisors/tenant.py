"""One supervisor's life.

Take the lease, take over what was left, serve, and let go without losing anything.
"""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import assert_never
from uuid import UUID

import anyio
import structlog

from orchestrator.cache.tenant_cache import Bounds, TenantCache
from orchestrator.engine.attempts import Attempts
from orchestrator.engine.engine import Engine
from orchestrator.model.clock import AnchoredClock
from orchestrator.model.errors import (
    DatabaseFull,
    DatabaseUnavailable,
    LeaseLost,
)
from orchestrator.model.ids import schema_of
from orchestrator.store.connect import Target, at_its_own_limit
from orchestrator.store.control import caches, configuration, leases
from orchestrator.store.tenant.cache import SETTINGS as CACHE_SESSION
from orchestrator.store.tenant.cache import CacheConnection, PostgresStore, schema_number
from orchestrator.store.tenant.database import TenantDatabase
from orchestrator.store.tenant.fence import Fence
from orchestrator.store.tenant.journal import Journal
from orchestrator.store.tenant.login import Login, Renew, Way
from orchestrator.store.tenant.owned import SESSION, OwnedConnection
from orchestrator.store.tenant.payloads import (
    Payloads,
    SealedClaims,
    SealedDatabase,
    SealedJournal,
    payloads,
)
from orchestrator.store.tenant.runs import Claims, Pause
from orchestrator.store.tenant.secrets import OpenSecrets, Vault
from orchestrator.store.tenant.usage import OwnedUsage
from supervisors.books import Books, Whose
from supervisors.ground import Access, Ground
from supervisors.messages import (
    ChangeRun,
    ChangeSchedule,
    Message,
    RepeatRun,
    SendSignal,
    SetPause,
    Submit,
)
from supervisors.slot import Slot, SlotState
from supervisors.starts import Starts

RELEASE_SECONDS = 5.0
TTL_JITTER = 0.1
SOON_SECONDS = 0.05
"""How soon a tenant looks again that stays awake only for a timer about to fire."""

MAIL_AT_ONCE = 64
"""How much mail is handled before others get the event loop."""

log = structlog.get_logger(__name__)


class TenantSupervisor:
    """One incarnation.

    `run` returns when the tenant is idle or was asked to stop, and raises otherwise.
    """

    def __init__(self, slot: Slot, ground: Ground, starts: Starts, *, drain_seconds: float) -> None:
        self._slot = slot
        self._ground = ground
        self._starts = starts
        self._tenant = slot.config.id
        self._drain_seconds = drain_seconds
        self._jitter = 1 + TTL_JITTER * (2 * random.random() - 1)  # noqa: S311 - not a secret
        self._wake_at: datetime | None = None
        self._paused: Sequence[Pause] = ()
        self._asked = False
        self._epoch = 0
        self._registration: UUID
        self._counts: OwnedUsage

    async def run(self) -> None:
        """Live once: activate, serve until idle or stopped, let go."""
        async with AsyncExitStack() as stack:
            async with self._starts.turn(self._slot):
                if self._slot.stop_wanted is not None:
                    return
                engine = await self._activate(stack)
            if self._slot.stop_wanted is not None:
                self._end_well(engine)
                return
            async with engine.running():
                whose = Whose(self._tenant, self._registration, self._epoch)
                books = Books(whose, self._ground, engine, self._counts, self._paused)
                await self._live(engine, books)
            if not self._asked:
                raise RuntimeError("the supervisor ended without having been asked to")

    async def _activate(self, stack: AsyncExitStack) -> Engine:
        access = await self._ground.prepare(self._tenant)
        self._registration = access.registration
        lease = await stack.enter_async_context(self._lease())
        owned, journal, moment = await self._take_over(stack, access.engine)
        sealing = await self._sealing(owned)
        if sealing is not None:
            owned.journal = SealedJournal(journal, sealing)
            owned.claims = SealedClaims(journal, sealing, self._served)
        made = self._database(access.app, journal.fence, sealing)
        database = await stack.enter_async_context(made)
        cache = await stack.enter_async_context(self._cache(access.app))
        engine, self._counts = self._engine(owned, database, cache), owned.usage
        clock = AnchoredClock(moment, self._ground.clock)
        # Whoever poked until now told of work that recovery is about to read.
        self._slot.poked = False
        recovered = await engine.recover(clock, crashed=lease.left_by_the_dead)
        log.info("tenant.awake", epoch=self._epoch, recovered=recovered)
        return engine

    async def _sealing(self, owned: OwnedConnection) -> Payloads | None:
        """Return what seals and opens the tenant's payloads; None when all of them are plain."""
        wanted, keys = self._slot.config.encrypt_payloads, self._ground.keys
        stored = await owned.secrets.ring()
        if wanted and not any(key.current and key.payloads for key in stored):
            vault = Vault(self._tenant, await keys.own(self._tenant))
            row = await self._ground.shards.row(self._tenant)
            async with self._ground.shards.lend(row) as admin:
                await vault.use_for_payloads(admin)
            stored = await owned.secrets.ring()
        if not any(key.payloads for key in stored):
            return None
        named = [key.wrapped_by for key in stored]
        return payloads(stored, await keys.of(self._tenant, named), seal=wanted)

    async def _take_over(
        self, stack: AsyncExitStack, target: Target
    ) -> tuple[OwnedConnection, Journal, datetime]:
        """Connect and raise the fence to our epoch; return the database's time as well."""
        owned, journal = await self._connect(stack, target)
        try:
            return owned, journal, await owned.open()
        except LeaseLost:
            await self._overtake()
        owned, journal = await self._connect(stack, target)
        return owned, journal, await owned.open()

    async def _connect(
        self, stack: AsyncExitStack, target: Target
    ) -> tuple[OwnedConnection, Journal]:
        journal = Journal(schema_of(self._tenant), epoch=self._epoch, node=self._ground.name)
        return await stack.enter_async_context(self._connection(target, journal)), journal

    async def _overtake(self) -> None:
        """Raise the epoch of our lease above the fence, when no newer owner has raised that."""
        row = await self._ground.shards.row(self._tenant)
        async with self._ground.shards.lend(row) as connection:
            fence = await leases.fence(connection, row.schema_name)
        async with self._ground.control.acquire() as control:
            epoch = await leases.overtake(
                control, self._tenant, self._ground.node, self._epoch, fence=fence
            )
        if epoch is None:
            raise LeaseLost(self._tenant, f"another owner has taken tenant {self._tenant!r}")
        log.warning("tenant.fence_was_ahead", lease=self._epoch, raised_to=epoch)
        self._note_epoch(epoch)

    def _note_epoch(self, epoch: int) -> None:
        self._epoch = self._slot.epoch = self._slot.held = epoch

    async def _live(self, engine: Engine, books: Books) -> None:
        slot = self._slot
        slot.engine = engine
        slot.state = SlotState.RUNNING
        slot.awake_since = self._ground.clock.monotonic()
        slot.use(slot.awake_since)
        slot.last_error = slot.retry_at = None
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, engine, books)
                group.start_soon(books.run)
                await self._serve(engine)
                slot.state = SlotState.DRAINING
                group.cancel_scope.cancel()
            if slot.stop_wanted is not None:
                await self._drain(engine)
            await books.settle()
            self._end_well(engine)
        finally:
            slot.engine = None

    def _end_well(self, engine: Engine) -> None:
        self._wake_at = engine.now if engine.busy else engine.next_due
        self._paused = engine.pauses
        self._asked = True

    # -- serving -----------------------------------------------------------------------

    async def _serve(self, engine: Engine) -> None:
        """Handle mail until there has been nothing to do for the idle time, or a stop is wanted."""
        slot = self._slot
        while not self._must_stop(engine):
            self._handle_mail(engine)
            if slot.poked:
                slot.poked = False
                engine.poke()
            if self._may_rest(engine):
                return
            if not engine.busy:
                slot.rest()
            # Nothing awaits between the looks above and this wait, so no mail or wish is missed.
            with anyio.move_on_after(self._patience(engine)):
                await slot.attention()

    def _must_stop(self, engine: Engine) -> bool:
        slot = self._slot
        if slot.stop_wanted is not None and slot.stop_wanted.yields and self._has_work(engine):
            # Work came first; whoever wants the place looks for another tenant that is idle.
            slot.stop_wanted = None
            slot.use(self._ground.clock.monotonic())
        return slot.stop_wanted is not None

    def _has_work(self, engine: Engine) -> bool:
        return engine.busy or self._slot.has_mail

    async def _watch(self, engine: Engine, books: Books) -> None:
        """Note when the engine works, and when it has become quiet; the idle time begins then."""
        while True:
            await engine.changed.wait()
            self._slot.use(self._ground.clock.monotonic())
            books.look()
            if not engine.busy:
                self._slot.look()

    def _handle_mail(self, engine: Engine) -> None:
        for _ in range(MAIL_AT_ONCE):
            try:
                message = self._slot.receive.receive_nowait()
            except anyio.WouldBlock:
                return
            self._slot.use(self._ground.clock.monotonic())
            self._handle(engine, message)

    def _handle(self, engine: Engine, message: Message) -> None:
        if message.reply.settled:
            return  # nobody waits any more, and whoever did was told that nothing was stored
        match message:
            case Submit(runs=runs, reply=started):
                engine.submit(runs, started)
            case SendSignal(signal=signal, reply=sent):
                engine.send(signal, sent)
            case ChangeRun(run=run, verb=verb, reason=reason, reply=state):
                engine.control(run, verb, reason, state)
            case RepeatRun(run=run, task=task, reply=repeated):
                engine.fork(run, task, repeated)
            case SetPause(workflow=workflow, paused=paused, reason=reason, reply=done):
                engine.set_pause(workflow, done, paused=paused, reason=reason)
            case ChangeSchedule(ask=ask):
                engine.schedules.ask(ask)
            case _:
                assert_never(message)

    def _may_rest(self, engine: Engine) -> bool:
        """Decide that nothing is left to do; no await follows until the state says so."""
        now = self._ground.clock.monotonic()
        if engine.busy:
            self._slot.use(now)
        due = engine.next_due
        soon = due is not None and due - engine.now <= timedelta(seconds=self._ttl)
        idle = now - self._slot.last_active >= self._ttl
        return idle and not (engine.busy or soon or self._slot.has_mail)

    def _patience(self, engine: Engine) -> float:
        if self._slot.has_mail:
            return 0.0
        if engine.busy:
            return math.inf
        idle = self._ground.clock.monotonic() - self._slot.last_active
        return self._ttl - idle if idle < self._ttl else max(self._ttl, SOON_SECONDS)

    @property
    def _ttl(self) -> float:
        return self._slot.config.idle_ttl.total_seconds() * self._jitter

    async def _drain(self, engine: Engine) -> None:
        with anyio.move_on_after(self._drain_seconds) as deadline:
            await engine.drain()
        if deadline.cancelled_caught:
            log.warning("tenant.drain_cut_short", running=engine.running_tasks)

    # -- what an incarnation holds -----------------------------------------------------

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[leases.Lease]:
        """Hold the tenant; let go of it only after a good end.

        Any other end is recovered from.
        """
        async with self._ground.control.acquire() as control:
            lease = await leases.claim(
                control, self._tenant, self._ground.node, steady=self._ground.standing.steady
            )
        self._note_epoch(lease.epoch)
        self._paused = lease.pauses
        yield lease
        with anyio.fail_after(RELEASE_SECONDS, shield=True):
            async with self._ground.control.acquire() as control:
                await leases.release(
                    control,
                    self._tenant,
                    self._ground.node,
                    self._epoch,
                    wake_at=self._wake_at,
                    paused=self._paused,
                )
                self._slot.held = None
                served = {self._tenant: self._slot.config.digest}
                await configuration.touch(control, served)
        log.info("tenant.dormant", epoch=self._epoch, wake_at=self._wake_at)

    def _served(self) -> list[tuple[str, str]]:
        """Return what may run for the tenant: what is served here, and its configuration allows."""
        served, allowed = self._ground.registry.served_to(self._tenant), self._slot.config.workflows
        return [kind for kind in served if allowed is None or kind[0] in allowed]

    @asynccontextmanager
    async def _connection(self, target: Target, journal: Journal) -> AsyncIterator[OwnedConnection]:
        owned = OwnedConnection(
            self._tenant,
            journal,
            Claims(journal.schema, epoch=journal.epoch, served=self._served),
            Login(
                Way(target, self._renewing(lambda access: access.engine), self._attempt),
                application_name=f"insula {self._ground.name} {self._tenant}"[:63],
                timeout=self._ground.connect_timeout,
                settings=SESSION,
            ).connect,
        )
        try:
            yield owned
        finally:
            await owned.close()

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """Let a connection be tried, unless it is known that nobody can have one.

        While a server is away its keeper alone tries, while it is full one tenant at a time.
        """
        reaches = self._ground.reaches(self._slot.config)
        breaker = self._ground.breaker_of(self._slot.config.shard)
        for reach in reaches:
            reach.check()
        breaker.check(self._slot)
        try:
            yield
        except DatabaseFull as error:
            breaker.trip(error)
            raise
        except DatabaseUnavailable as error:
            for reach in () if at_its_own_limit(error.__cause__) else reaches:
                reach.doubt()
            raise
        breaker.close()

    @asynccontextmanager
    async def _database(
        self, target: Target, fence: Fence, sealing: Payloads | None
    ) -> AsyncIterator[TenantDatabase]:
        kind = TenantDatabase if sealing is None else partial(SealedDatabase, sealing)
        database = kind(
            Way(target, self._renewing(lambda access: access.app), self._attempt),
            application_name=f"insula {self._ground.name} app {self._tenant}"[:63],
            places=self._ground.app_places,
            fence=fence,
        )
        try:
            yield database
        finally:
            await database.close()

    def _renewing(self, login: Callable[[Access], Target]) -> Renew:
        async def renew(*, again: bool) -> Target:
            return login(await self._ground.prepare(self._tenant, again=again))

        return renew

    @asynccontextmanager
    async def _cache(self, target: Target) -> AsyncIterator[TenantCache]:
        if self._ground.caches is not None:
            # Named after the schema itself as well: a tenant that is made anew, or comes back out
            # of a backup, finds nothing that another one of its name has left.
            row = await self._ground.shards.row(self._tenant)
            async with self._ground.shards.lend(row) as admin:
                schema = await schema_number(admin, row.schema_name)
            async with self._ground.control.acquire() as control:
                await caches.opened(control, self._tenant, schema)
            place = self._ground.caches.store(self._tenant, str(schema))
            yield TenantCache(place, self._cache_bounds)
            return
        connection = CacheConnection(
            Login(
                Way(target, self._renewing(lambda access: access.app), self._attempt),
                application_name=f"insula {self._ground.name} cache {self._tenant}"[:63],
                timeout=self._ground.connect_timeout,
                settings=CACHE_SESSION,
            )
        )
        store = PostgresStore(connection.run, schema_of(self._tenant))
        try:
            yield TenantCache(store, self._cache_bounds)
        finally:
            await connection.close()

    def _cache_bounds(self) -> Bounds:
        return Bounds.of(self._slot.config.limits)

    def _engine(
        self, owned: OwnedConnection, database: TenantDatabase, cache: TenantCache
    ) -> Engine:
        slot = self._slot
        limit = slot.config.limits.max_concurrent_tasks or self._ground.slots.total
        threads = min(limit, self._ground.slots.total)
        attempts = Attempts(
            lambda: slot.config,
            database,
            self._ground.processes,
            threads=threads,
            secrets=OpenSecrets(
                self._tenant, owned.secrets, partial(self._ground.keys.of, self._tenant)
            ),
            cache=cache,
        )
        return Engine(
            lambda: slot.config,
            self._ground.registry,
            owned,
            attempts,
            self._ground.slots,
            epoch=self._epoch,
        )
