"""One provisioned tenant, and rows for its journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from orchestrator.model.ids import new_run_id
from orchestrator.store import connect
from orchestrator.store.connect import Connection, Target
from orchestrator.store.tenant.journal import Batch, ChangedRun, Journal, Logged, NewRun
from orchestrator.store.tenant.owned import SESSION, OwnedConnection
from orchestrator.store.tenant.runs import Claims, Served
from tests.support.database import Database

SCHEMA = "tenant_acme"
SERVED = [("w", "1")]


@dataclass(frozen=True)
class Acme:
    """The tenant: its engine's login, and the admin's for looking at what it wrote."""

    database: Database
    admin: Connection
    opened: list[Connection] = field(default_factory=list)

    async def connect(self, target: Target | None = None) -> Connection:
        """Log in as the supervisor does."""
        login = target or self.database.as_engine("acme")
        opened = await connect.connect(login, application_name="insula test", settings=SESSION)
        self.opened.append(opened)
        return opened

    def owned(
        self,
        epoch: int,
        *,
        target: Target | None = None,
        served: Served = SERVED,
        answer_seconds: float = 30.0,
    ) -> OwnedConnection:
        """Return a supervisor's connection, not open yet."""
        return OwnedConnection(
            "acme",
            Journal(SCHEMA, epoch=epoch, node="a"),
            Claims(SCHEMA, epoch=epoch, served=lambda: served),
            partial(self.connect, target),
            answer_seconds=answer_seconds,
        )

    async def take(self, epoch: int) -> tuple[Connection, Journal]:
        """Take the tenant over and return what writes under that epoch."""
        connection = await self.connect()
        journal = Journal(SCHEMA, epoch=epoch, node="a")
        assert await journal.take_over(connection) is not None
        return connection, journal

    async def value(self, query: str, *args: object) -> Any:
        """Return one value, asked by the admin."""
        return await self.admin.fetchval(query.replace("tenant.", f"{SCHEMA}."), *args)

    async def contents(self) -> list[tuple[Any, ...]]:
        """Return everything that the journal holds, to compare before and after."""
        runs = await self.admin.fetch(f"SELECT r::text FROM {SCHEMA}.wf_run r ORDER BY id")
        events = await self.admin.fetch(f"SELECT e::text FROM {SCHEMA}.wf_event e ORDER BY 1")
        return [tuple(row) for row in (*runs, *events)]


def new_run(**changes: Any) -> NewRun:
    """Return a run that is queued and held by nobody."""
    plain = NewRun(
        id=new_run_id(),
        workflow="w",
        version="1",
        state="queued",
        queue="default",
        priority=0,
        rank=0,
        epoch=0,
        key=None,
        tags="[]",
        input="{}",
    )
    return msgspec.structs.replace(plain, **changes)


def changed(run: NewRun, **changes: Any) -> ChangedRun:
    """Return the run's row as running."""
    plain = ChangedRun(
        id=run.id,
        state="running",
        output=None,
        context=None,
        error=None,
        due_at=None,
        epoch=1,
        finished=False,
    )
    return msgspec.structs.replace(plain, **changes)


def logged(run: NewRun, seq: int = 0, *, fresh: bool = False) -> Logged:
    """Return one entry."""
    return Logged(run.id, seq, '[{"event":"run.succeeded"}]', fresh)


def batch(
    added: list[NewRun] | None = None,
    changed: list[ChangedRun] | None = None,
    logged: list[Logged] | None = None,
) -> Batch:
    """Return one flush."""
    return Batch(added=added or [], changed=changed or [], logged=logged or [])
