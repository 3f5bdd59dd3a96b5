"""A root with real slots, runners and decisions, over supervisors that do as the test says.

No database: a life is a script with the shape of `supervisors/tenant.py`, and time is the loop's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import anyio
import asyncpg

from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import Started, StartRun
from orchestrator.model.errors import DatabaseUnavailable, InsulaError
from orchestrator.model.ids import TenantId
from orchestrator.model.states import RunState
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import SupervisionSection
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.connect import ControlPool, Target
from orchestrator.store.shards import Shards
from orchestrator.store.tenant.places import Places
from orchestrator.workflow.registry import Registry
from supervisors.ground import Access, Ground
from supervisors.messages import Submit
from supervisors.root import RootSupervisor
from supervisors.slot import AT_REST, Slot, SlotState
from supervisors.standing import Standing
from supervisors.starts import Starts
from tests.support.hand_loop import HandLoop

MAX_AWAKE = 2
INTENSITY = 2
IDLE_SECONDS = 5.0
EXPIRY_SECONDS = 30.0
STEP_SECONDS = 0.01
"""How long each step of a life takes, so that something can happen in it."""

SUPERVISION = SupervisionSection(
    mailbox=4, restart_intensity=INTENSITY, min_residency=Duration(seconds=1)
)


class LoopClock:
    """The loop's time as a clock."""

    def __init__(self, loop: HandLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Return seconds."""
        return self._loop.time()


class Quiet:
    """An engine that has nothing to do."""

    busy = False

    def reconfigured(self) -> None:
        """Do nothing: there are no limits here."""


class Stage:
    """One root, what was sent to its tenants, and what came of it."""

    def __init__(self, *, max_awake: int = MAX_AWAKE, start_seconds: float = STEP_SECONDS) -> None:
        self.loop = HandLoop()
        self.max_awake = max_awake
        self.start_seconds = start_seconds
        self.up = True
        self.fates: dict[TenantId, BaseException] = {}
        self.lives: Counter[TenantId] = Counter()
        self.most_lives = 0
        self.epochs = 0
        self.sent = self.handled = self.reported = self.stored = 0
        self.told: Counter[str] = Counter()
        self._senders: set[asyncio.Task[None]] = set()
        self.loop.run(self._start())

    async def _start(self) -> None:
        self.standing = Standing(EXPIRY_SECONDS, self.loop.time)
        self.standing.renewed(self.standing.now())
        self.standing.answer(self.keep)
        # A pool that was never opened: nobody can have a connection, and nobody waits for one.
        pool = ControlPool(asyncpg.create_pool(), Target.parse("postgresql:///none"))
        ground = Ground(
            node=uuid4(),
            name="a",
            standing=self.standing,
            shards=Shards(pool),
            prepare=_no_database,
            registry=Registry.of([]),
            slots=NodeSlots(1),
            clock=LoopClock(self.loop),
            connect_timeout=1.0,
            app_places=Places(1),
            processes=cast(Any, None),
            keys=cast(Any, None),
        )
        self.root = RootSupervisor(ground, SUPERVISION, max_awake=self.max_awake)
        ready = asyncio.Event()
        self._main = self.loop.create_task(self._serve(ready))
        await ready.wait()

    async def _serve(self, ready: asyncio.Event) -> None:
        with anyio.CancelScope() as self._scope:
            async with anyio.create_task_group() as group:
                await group.start(self.root.run)
                ready.set()
                while True:
                    await anyio.sleep(EXPIRY_SECONDS / 3)
                    self.keep()

    # -- what happens ------------------------------------------------------------------

    def keep(self) -> None:
        """Renew the node's row, as its keeper does."""
        if self.up:
            self.standing.renewed(self.standing.now())
        else:
            self.standing.lost("connection refused")

    def do(self, act: Callable[[], object]) -> None:
        """Call `act` within the loop, and let what follows at once happen."""

        async def acting() -> None:
            act()

        self.loop.run(acting())
        self.settle()

    def declare(self, tenants: Iterable[TenantConfig]) -> None:
        """Reload."""
        self.do(lambda: self.root.declare(tenants, {}))

    def submit(self, tenant: TenantId) -> None:
        """Send one run, and note what its sender is told."""
        self.sent += 1
        task = self.loop.create_task(self._submit(tenant))
        self._senders.add(task)
        task.add_done_callback(self._senders.discard)
        self.settle()

    async def _submit(self, tenant: TenantId) -> None:
        try:
            await self.root.submit(tenant, [StartRun(workflow="any")])
        except InsulaError as error:
            self.reported += 1
            self.told[error.code] += 1
        else:
            self.handled += 1

    def pass_time(self, seconds: float) -> None:
        """Let the tasks run for so long."""
        self.loop.run(asyncio.sleep(seconds))
        self.settle()

    def settle(self) -> None:
        """Let everybody do what can be done now."""
        self.loop.run(_settled())

    def end(self) -> None:
        """Drain, and see that everybody has been answered."""
        self.loop.run(self.root.drain())
        self.settle()
        left = {slot.state for slot in self.root.slots.values()} - AT_REST
        waiting = len(self._senders)
        self.do(self._scope.cancel)
        self.loop.run_until_complete(self._main)
        self.loop.close()
        assert not left, left
        assert not waiting, "nobody is left without an answer"
        assert self.sent == self.handled + self.reported

    # -- what can be seen --------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many senders have no answer yet."""
        return len(self._senders)

    def runners(self) -> Counter[str]:
        """Return how many runners each tenant has."""
        names = (task.get_name() for task in asyncio.all_tasks(self.loop) if not task.done())
        return Counter(name for name in names if name.startswith("tenant "))

    # -- a life ------------------------------------------------------------------------

    async def live(self, slot: Slot, starts: Starts) -> None:
        """Be the supervisor of a tenant: start, serve until idle or stopped, let go."""
        tenant = slot.config.id
        self.lives[tenant] += 1
        self.most_lives = max(self.most_lives, self.lives[tenant])
        try:
            self.epochs += 1
            slot.epoch = slot.held = self.epochs
            async with starts.turn(slot):
                await self._step(slot, self.start_seconds)
            if slot.stop_wanted is None:
                await self._work(slot)
            slot.held = None
        finally:
            slot.engine = None
            self.lives[tenant] -= 1

    async def _work(self, slot: Slot) -> None:
        slot.engine = cast(Any, Quiet())
        slot.state = SlotState.RUNNING
        slot.awake_since = self.loop.time()
        slot.last_error = slot.retry_at = None
        while not self._is_over(slot):
            self._handle_mail(slot)
            await self._step(slot)
            slot.rest()
            if not slot.has_mail:
                with anyio.move_on_after(IDLE_SECONDS):
                    await slot.attention()
        slot.state = SlotState.DRAINING
        await self._step(slot)

    def _is_over(self, slot: Slot) -> bool:
        wish = slot.stop_wanted
        if wish is not None and wish.yields and slot.has_mail:
            slot.stop_wanted = wish = None
            slot.use(self.loop.time())
        idle = self.loop.time() - max(slot.last_active, slot.awake_since) >= IDLE_SECONDS
        return wish is not None or (idle and not slot.has_mail)

    def _handle_mail(self, slot: Slot) -> None:
        slot.poked = False
        while True:
            try:
                message = slot.receive.receive_nowait()
            except anyio.WouldBlock:
                return
            assert isinstance(message, Submit)
            slot.use(self.loop.time())
            if not message.reply.settled:
                self.stored += 1
                message.reply.answer([Started(id=uuid4(), state=RunState.QUEUED)])

    async def _step(self, slot: Slot, seconds: float = STEP_SECONDS) -> None:
        await anyio.sleep(seconds)
        if not self.up:
            self.standing.doubt()
            raise DatabaseUnavailable("connection refused")
        if fate := self.fates.pop(slot.config.id, None):
            raise fate


class Scripted:
    """Stands where a tenant's supervisor stands, and does as the stage says."""

    stage: Stage

    def __init__(
        self, slot: Slot, _ground: Ground, starts: Starts, *, drain_seconds: float
    ) -> None:
        assert drain_seconds > 0
        self._slot = slot
        self._starts = starts

    async def run(self) -> None:
        """Live once."""
        await self.stage.live(self._slot, self._starts)


async def _settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def _no_database(tenant: TenantId, /, *, again: bool = False) -> Access:
    raise DatabaseUnavailable(f"{tenant} has no tables here, however often it asks: {again}")
