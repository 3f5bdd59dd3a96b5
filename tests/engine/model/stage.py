"""The real engine over real PostgreSQL, moved one action at a time and killed between statements.

One tenant and a few connections serve all examples; time, for the database too, is moved by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from orchestrator.engine import entries
from orchestrator.engine.attempts import Attempts
from orchestrator.engine.engine import Engine
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.clock import AnchoredClock, HandClock
from orchestrator.model.errors import LeaseLost
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import ScheduleSection
from orchestrator.settings.schedules import merged
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store import connect
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.database import TenantDatabase
from orchestrator.store.tenant.fence import Fence
from orchestrator.store.tenant.journal import Journal
from orchestrator.store.tenant.login import Way
from orchestrator.store.tenant.owned import OwnedConnection
from orchestrator.store.tenant.places import Places
from orchestrator.store.tenant.runs import Claims
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry
from orchestrator.workflow.retry import Retry
from tests.engine.live import MOVED_TIME, NO_PROCESSES, SCHEMA
from tests.engine.model.plays import EVERY, FIRED, KID, PLAYS, SLEEP, Phase, Script
from tests.support.database import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
STUCK_SECONDS = 10
STILL_TIME = """
    CREATE SCHEMA moved;
    GRANT USAGE ON SCHEMA moved TO PUBLIC;
    CREATE TABLE moved.present (at timestamptz);
    INSERT INTO moved.present VALUES (now());
    GRANT SELECT ON moved.present TO PUBLIC;
    CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
        AS 'SELECT at FROM moved.present';
"""
"""For the engine the database's time stands still, so that nothing is due by a hair."""

_NAMES = ("run", "event", "signal", "pause", "schedule", "fire")
TABLES = [f"{SCHEMA}.wf_{name}" for name in _NAMES]
DELETE = "".join(f"DELETE FROM {table};" for table in TABLES)
TRUNCATE = f"TRUNCATE {', '.join(TABLES)};"
TRUNCATE_EVERY = 50
"""To delete is faster, but leaves rows behind that every later statement passes over."""

Place = tuple[str, str, int]
"""The name of a run, its task, and the phase that waits for the test to end it."""


class Killed(Exception):
    """The process is gone."""


@dataclass
class Fate:
    """The process dies before or `after` its statement, or transaction, number `at` from now."""

    at: int = -1
    after: bool = False
    count: int = 0
    struck: bool = False

    @contextmanager
    def statement(self) -> Iterator[None]:
        """Run one statement, or what is one to others, if the process lives."""
        number, self.count = self.count, self.count + 1
        if self.struck or (number == self.at and not self.after):
            self.struck = True
            raise Killed
        yield
        if number == self.at:
            self.struck = True
            raise Killed


class Lent:
    """A connection that outlives the engine it is lent to; `fate` is the engine's."""

    def __init__(self, connection: Connection, fate: Fate) -> None:
        self._connection = connection
        self._fate = fate
        self._inside = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if self._inside or name not in {"fetch", "fetchrow", "fetchval", "execute"}:
            return found

        async def counted(*args: Any) -> Any:
            with self._fate.statement():
                return await found(*args)

        return counted

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Count a transaction as one statement: nobody sees half of it."""
        with self._fate.statement():
            self._inside = True
            try:
                async with self._connection.transaction():
                    yield
            finally:
                self._inside = False

    async def close(self, **_: float) -> None:
        """Let nothing more through."""
        self._fate.struck = True

    def is_closed(self) -> bool:
        """Tell whether it can be used no more."""
        return self._fate.struck


@dataclass(eq=False)
class Owner:
    """One owner of the tenant: an engine in a task of its own, until it is stopped or dies."""

    stage: Stage
    connection: Connection
    epoch: int
    crashed: bool
    fate: Fate = field(default_factory=Fate)
    held: dict[Place, asyncio.Future[None]] = field(default_factory=dict)
    clock: HandClock = field(default_factory=HandClock)

    def __post_init__(self) -> None:
        self.owned = OwnedConnection(
            "acme",
            Journal(SCHEMA, epoch=self.epoch, node=f"n{self.epoch}"),
            Claims(SCHEMA, epoch=self.epoch, served=lambda: list(REGISTRY.workflows)),
            self._connect,
        )
        attempts = Attempts(lambda: CONFIG, self.stage.app, NO_PROCESSES, threads=1)
        self.engine = Engine(
            lambda: CONFIG, REGISTRY, self.owned, attempts, NodeSlots(64), epoch=self.epoch
        )
        self._end = asyncio.Event()
        self._began = False
        self._host = asyncio.create_task(self._serve())

    @property
    def dead(self) -> bool:
        """True once it is gone."""
        return self._host.done()

    async def quiet(self) -> None:
        """Return when nothing can move but what the test holds, or the owner is dead."""
        async with asyncio.timeout(STUCK_SECONDS):
            while not self.dead:
                self._tick()
                if self._is_quiet():
                    return
                await self.engine.changed.wait()

    async def stop(self) -> None:
        """End the engine and let the connection go; raises what it died of, unless killed."""
        self._end.set()
        if self in self.stage.owners:
            self.stage.owners.remove(self)
            self.stage.spare.append(self.connection)
        await self._host

    def end_phase(self, place: Place, error: Exception | None = None) -> None:
        """Let what is held go on, or fail."""
        future = self.held.pop(place)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    async def pass_time(self, seconds: int) -> None:
        """Let time pass, here and for the database, and what is due happen."""
        await self.stage.pass_time(seconds)
        self.clock.advance(seconds)
        self.engine.tick()

    async def hold(self, *place: Any) -> None:
        """Wait until the test ends this phase; called by tasks."""
        await self.stage.check_may_run(self, place)
        future = self.held[place] = asyncio.get_running_loop().create_future()
        self.engine.changed.beat()
        try:
            await future
        finally:
            if self.held.get(place) is future:
                del self.held[place]

    async def _connect(self) -> Connection:
        if self.fate.struck:
            raise Killed
        lent: Any = Lent(self.connection, self.fate)
        return lent  # type: ignore[no-any-return]

    async def _serve(self) -> None:
        _OWNER.set(self)
        try:
            anchored = AnchoredClock(await self.owned.open(), self.clock)
            await self.engine.recover(anchored, crashed=self.crashed)
            async with self.engine.running():
                self._began = True
                self.engine.changed.beat()
                await self._end.wait()
        except* (Killed, LeaseLost):
            self.fate.struck = True
        finally:
            await self.owned.close()
            self.engine.changed.beat()
            asyncio.get_running_loop().call_soon(self.engine.changed.beat)

    def _tick(self) -> None:
        """Do what the engine's own timer does a moment later."""
        due = self.engine.next_due if self._began else None
        if due is not None and due <= self.engine.now:
            self.engine.tick()
        if self._began and self.engine._table.outside:  # noqa: SLF001 - its timer is another moment's
            self.engine._table.wake()  # noqa: SLF001

    def _is_quiet(self) -> bool:
        # `Engine.busy` will not do: it is so while a task runs, which here waits for the test.
        parts = (self.engine._submissions, self.engine._table.busy)  # noqa: SLF001
        idle = self.engine._commit.idle and not self.engine.schedules.busy  # noqa: SLF001
        all_held = self.engine.running_tasks == len(self.held)
        return self._began and idle and all_held and not any(parts)


class Stage:
    """One provisioned tenant for all examples, and who owns it now."""

    def __init__(self, database: Database, admin: Connection) -> None:
        self.admin = admin
        self.spare: list[Connection] = []
        self.owners: list[Owner] = []
        self.epoch = 0
        self._begun = 0
        self.broken: list[str] = []
        self.app = TenantDatabase(
            Way(database.as_app("acme")),
            application_name="test",
            places=Places(1),
            fence=Fence(SCHEMA, epoch=0),  # nobody's: no task here asks for it
        )
        self._database = database
        self._asking = asyncio.Lock()
        self.owner: Owner

    async def open(self) -> None:
        """Make the tenant ready."""
        await self.admin.execute(STILL_TIME)
        for _ in range(2):
            target = self._database.as_engine("acme")
            self.spare.append(
                await connect.connect(target, application_name="test", settings=MOVED_TIME)
            )

    async def begin(self) -> None:
        """Begin an example: an empty tenant and a new owner."""
        self._begun += 1
        clean = DELETE if self._begun % TRUNCATE_EVERY else TRUNCATE
        await self.admin.execute(f"{clean} UPDATE moved.present SET at = '{START}'")
        self.broken = []
        self.now = 0
        await self.take_over()

    async def end(self) -> None:
        """Leave no owner behind."""
        for owner in list(self.owners):
            await owner.stop()

    async def close(self) -> None:
        """Close the connections."""
        for connection in self.spare:
            await connection.close()
        await self.app.close()

    async def take_over(self, *, crashed: bool = False, fate: Fate | None = None) -> Owner:
        """Let another owner begin, which may die of it."""
        self.epoch += 1
        self.owner = Owner(self, self.spare.pop(), self.epoch, crashed, fate or Fate())
        self.owners.append(self.owner)
        await self.owner.quiet()
        return self.owner

    async def pass_time(self, seconds: int) -> None:
        """Let time pass for the database."""
        self.now += seconds
        moment = START + timedelta(seconds=self.now)
        await self.ask("UPDATE moved.present SET at = $1", moment)

    async def ask(self, query: str, *args: object) -> list[Any]:
        """Return rows, asked by the admin on a connection of its own."""
        async with self._asking:
            return await self.admin.fetch(query.replace("tenant.", f"{SCHEMA}."), *args)

    async def journal(self, run: str) -> list[entries.AnyEntry]:
        """Return what is durable of a run."""
        rows = await self.ask(_JOURNAL, run)
        return [entry for _, text in rows if text for entry in entries.decode(text)]

    async def check_may_run(self, owner: Owner, place: Sequence[Any]) -> None:
        """Note what is wrong with a phase that begins, by what is durable at this moment."""
        run, name, phase = place
        rows = await self.ask(_JOURNAL, run)
        found = _standing([e for _, text in rows if text for e in entries.decode(text)])
        over = {e.task for e in found if isinstance(e, _TASK_OVER)}
        well = {e.task for e in found if isinstance(e, entries.TaskSucceeded)}
        done = [e for e in found if isinstance(e, entries.StepDone) and e.task == name]
        script = PLAYS[rows[0][0]][name]
        earlier = script.phases[:phase].count(Phase.HOLD)
        reasons = {
            "of an owner that is not the tenant's": owner is not self.owner,
            "of a run that is over": any(isinstance(e, RUN_OVER) for e in found),
            "of a task that is over": name in over,
            "before what comes before it is durable": not well.issuperset(script.after),
            "again, or too early": len(done) != earlier,
            "twice at a time": tuple(place) in owner.held,
        }
        self.broken += [f"{place} begins {why}" for why, wrong in reasons.items() if wrong]


def _standing(found: list[entries.AnyEntry]) -> list[entries.AnyEntry]:
    """Return what counts still of a journal: a retry takes back the end and what begins anew."""
    stands: list[entries.AnyEntry] = []
    for entry in found:
        if isinstance(entry, entries.RunRetried):
            again = set(entry.tasks)
            stands = [e for e in stands if getattr(e, "task", None) not in again]
            stands = [e for e in stands if not isinstance(e, RUN_OVER)]
        stands.append(entry)
    return stands


def _workflow(name: str, tasks: dict[str, Script]) -> Workflow:
    made = Workflow(name)
    known: dict[str, Any] = {}
    for task, script in tasks.items():
        retry = Retry(
            attempts=script.attempts, backoff="fixed", initial=f"{script.pause}s", jitter=0.0
        )
        declare = made.task(name=task, after=[known[up] for up in script.after], retry=retry)
        known[task] = declare(_body(task, script))
    return made


def _body(task: str, script: Script) -> Callable[..., Awaitable[list[int]]]:
    async def play(ctx: Context, name: str = "") -> list[int]:
        owner, got = _OWNER.get(), []
        for number, phase in enumerate(script.phases):
            match phase:
                case Phase.HOLD:
                    await ctx.step("hold", owner.hold, name, task, number)
                case Phase.LAST:
                    await owner.hold(name, task, number)
                case Phase.SIGNAL:
                    got.append(await ctx.wait_signal("go"))
                case Phase.SLEEP:
                    await ctx.sleep(SLEEP)
                case Phase.CHILD:
                    await ctx.wait(await ctx.start_child(KID, {"name": f"{name}/{task}"}))
        return got

    return play


_OWNER: ContextVar[Owner] = ContextVar("owner")
"""In whose engine a task runs."""

_FIRES = ScheduleSection(
    name="s", workflow=FIRED, every=Duration(seconds=EVERY), catch_up="all", overlap="allow"
)
CONFIG = TenantConfig(
    id=TenantId("acme"),
    name="Acme",
    schedules=tuple(msgspec.structs.replace(s, since=START) for s in merged("acme", (), [_FIRES])),
)
REGISTRY = Registry.of([_workflow(name, tasks) for name, tasks in PLAYS.items()])
_JOURNAL = """
    SELECT run.workflow, event.entries
    FROM tenant.wf_run AS run LEFT JOIN tenant.wf_event AS event ON event.run_id = run.id
    WHERE run.input->>'name' = $1 ORDER BY event.seq
"""
_TASK_OVER = (entries.TaskSucceeded, entries.TaskFailed, entries.TaskSkipped)
RUN_OVER = (entries.RunSucceeded, entries.RunFailed, entries.RunDied, entries.RunCancelled)
