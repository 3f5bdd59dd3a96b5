"""Runs that are added from outside the tenant's supervisor, for whoever serves it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec

from orchestrator.model.ids import TenantId, run_id_at, schema_of
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant.journal import Known, NewRun, key_held, keys_of, known
from orchestrator.store.tenant.runs import ACCEPTED_LATELY

_QUERIES = sql.load(__name__)
QUEUED = _QUERIES["queued"]
ADD = _QUERIES["add"]


class Counted(msgspec.Struct, frozen=True):
    """What limits are measured by.

    The database's time, how many runs wait, how many were accepted in each minute.
    """

    now: datetime
    queued: int
    accepted: list[tuple[datetime, int]]


async def count(connection: Connection, schema: str, *, up_to: int, lately: timedelta) -> Counted:
    """Count the runs that wait, up to `up_to`, and those that were accepted `lately`; 0 is none."""
    now, queued = await connection.fetchrow(sql.bind(QUEUED, schema), up_to)  # type: ignore[misc]
    accepted = []
    if lately:
        since = run_id_at(time.time() - lately.total_seconds())
        accepted = await connection.fetch(sql.bind(ACCEPTED_LATELY, schema), since)
    return Counted(now, queued, [(minute, many) for minute, many in accepted])


async def add(connection: Connection, tenant: TenantId, runs: Sequence[NewRun]) -> list[Known]:
    """Store `runs`, and a wake row with them; return what is there, in their order.

    That is the run itself, or the one that had its key before. Raises LockNotHad when a transaction
    that has not ended holds such a key.
    """
    schema = schema_of(tenant)
    while True:
        try:
            await connection.execute(sql.bind(ADD, schema), tenant, *_columns(runs), schema)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            raise key_held(runs) from error
        found = await known(connection, schema, [run.id for run in runs], keys_of(runs))
        by_id = {run.id: run for run in found}
        by_key = {(run.workflow, run.key): run for run in found}
        stored = [by_id.get(run.id) or by_key.get((run.workflow, run.key)) for run in runs]
        if None not in stored:
            return [run for run in stored if run is not None]
        # The run that had the key was deleted in between: once more.


def _columns(runs: Sequence[NewRun]) -> list[list[object]]:
    names = (name for name in NewRun.__struct_fields__ if name not in _CONSTANT)
    return [[getattr(run, name) for run in runs] for name in names]


_CONSTANT = ("state", "epoch", "parent_id")
"""A run from outside is queued, nobody's and nobody's child."""
