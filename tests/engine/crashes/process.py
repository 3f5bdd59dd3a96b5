"""A process of its own that serves a tenant until it kills itself at a named point."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import anyio
import msgspec

from orchestrator.engine.attempts import Attempts
from orchestrator.engine.engine import Engine
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.reply import Reply
from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import Started, StartRun
from orchestrator.model.clock import AnchoredClock, SystemClock
from orchestrator.model.ids import TenantId
from orchestrator.settings.model import ScheduleSection
from orchestrator.settings.schedules import merged
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store import connect
from orchestrator.store.connect import Connection, Target
from orchestrator.store.tenant.database import Lent, TenantDatabase
from orchestrator.store.tenant.journal import Batch, Committed, Completion, Journal
from orchestrator.store.tenant.login import Way
from orchestrator.store.tenant.owned import SESSION, OwnedConnection
from orchestrator.store.tenant.places import Places
from orchestrator.store.tenant.runs import Claimed, Claims
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry
from tests.engine.crashes.flow import REACHED, WORKFLOWS

SCHEMA = "tenant_acme"
LIMIT_SECONDS = 20

Reached = Callable[[str], None]


class Orders(msgspec.Struct, frozen=True):
    """What the process is to do: where, as which tenant, and at which point it dies."""

    point: str
    workflow: str
    engine: str
    app: str
    submits: bool
    fires_at: datetime | None


def config(orders: Orders) -> TenantConfig:
    """Return the tenant's configuration, with a fire that is due."""
    made = TenantConfig(id=TenantId("acme"), name="Acme")
    fires_at = orders.fires_at
    if fires_at is None:
        return made
    section = ScheduleSection(name="s", workflow=orders.workflow, at=fires_at)
    (schedule,) = merged("acme", (), [section])
    dated = msgspec.structs.replace(schedule, since=fires_at - timedelta(hours=1))
    return msgspec.structs.replace(made, schedules=(dated,))


class WatchedJournal(Journal):
    """The journal, which tells what it is about to commit and what it has committed."""

    def __init__(self, reached: Reached) -> None:
        super().__init__(SCHEMA, epoch=1, node="killed")
        self._reached = reached

    async def flush(self, connection: Connection, batch: Batch) -> Committed | None:
        """Commit a batch."""
        held = list(_held(batch))
        for each in held:
            self._reached(f"before the {each} is committed")
        committed = await super().flush(connection, batch)
        for each in held:
            self._reached(f"after the {each} is committed")
        return committed


class WatchedClaims(Claims):
    """The claims, which tell when runs were taken."""

    def __init__(self, workflow: Workflow, reached: Reached) -> None:
        super().__init__(SCHEMA, epoch=1, served=lambda: [(workflow.name, workflow.version)])
        self._reached = reached

    async def claim(self, connection: Connection, limit: int) -> list[Claimed]:
        """Take runs into memory."""
        claimed = await super().claim(connection, limit)
        if claimed:
            self._reached("after the claim")
        return claimed


class WatchedDatabase(TenantDatabase):
    """The tasks' database, which tells when a task commits its own completion."""

    reached: Reached

    async def complete(self, lent: Lent, completion: Completion) -> None:
        """Commit."""
        self.reached("before the transaction is committed")
        await super().complete(lent, completion)
        self.reached("after the transaction is committed")


def _held(batch: Batch) -> list[str]:
    """Return what people call the things that a flush makes durable."""
    entries = "".join(logged.entries for logged in batch.logged)
    held = {
        "fire": bool(batch.fires),
        "submit": bool(batch.added) and not batch.fires,
        "retry": '"task.retrying"' in entries,
        "completion": '"task.succeeded"' in entries,
    }
    return [name for name, there in held.items() if there]


async def serve(orders: Orders) -> None:
    """Serve the tenant; the process is dead before this returns, or something is wrong."""

    def reached(point: str) -> None:
        if point == orders.point:
            os.kill(os.getpid(), signal.SIGKILL)

    REACHED.set(reached)
    login = partial(
        connect.connect, Target.parse(orders.engine), application_name="test", settings=SESSION
    )
    journal = WatchedJournal(reached)
    workflow = WORKFLOWS[orders.workflow]
    owned = OwnedConnection("acme", journal, WatchedClaims(workflow, reached), login)
    app = WatchedDatabase(
        Way(Target.parse(orders.app)),
        application_name="test",
        places=Places(2),
        fence=journal.fence,
    )
    app.reached = reached
    none = ProcessPool(size=1, memory_bytes=None)
    mine = config(orders)
    attempts = Attempts(lambda: mine, app, none, threads=1)
    engine = Engine(lambda: mine, Registry.of([workflow]), owned, attempts, NodeSlots(8), epoch=1)
    await engine.recover(AnchoredClock(await owned.open(), SystemClock()))
    async with engine.running():
        if orders.submits:
            reply: Reply[list[Started]] = Reply()
            engine.submit([StartRun(workflow=workflow.name, input={})], reply)
        with anyio.fail_after(LIMIT_SECONDS):
            await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(serve, msgspec.json.decode(sys.stdin.buffer.read(), type=Orders))
