"""However long a tenant's past is, no statement reads more of it than it returns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from orchestrator.model.ids import run_id_at
from orchestrator.store import sql
from orchestrator.store.connect import Connection
from orchestrator.store.tenant import admission, dead, journal, runs, schedules
from orchestrator.store.tenant.journal import ChangedRun
from tests.store.submitting import limit
from tests.store.tenant.acme import SCHEMA, Acme, changed, logged, new_run
from tests.store.tenant.costs import cost

PAST = 200_000
DEAD = 3
A_RUN = UUID("018bcfe5-0000-7000-8000-000000012345")
"""One of the past, in its middle; ids grow with time as those that the engine gives."""

RUNS = f"""
    INSERT INTO {SCHEMA}.wf_run (id, workflow, version, state, queue, priority, epoch, key, input,
                                 created_at, started_at, finished_at)
    SELECT ('018bcfe5-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'w', '1',
           CASE WHEN n <= {DEAD} THEN 'failed' ELSE 'succeeded' END, 'default', 0, 1,
           CASE WHEN n % 10 = 0 THEN 'key ' || n END, '{{}}', past.at, past.at, past.at
    FROM generate_series(1, {PAST}) AS n, (SELECT now() - interval '90 days' AS at) AS past
"""
EVENTS = f"""
    INSERT INTO {SCHEMA}.wf_event (run_id, seq, epoch, node, entries)
    SELECT id, 0, 1, 'a', '[]' FROM {SCHEMA}.wf_run
"""
SIGNALS = f"""
    INSERT INTO {SCHEMA}.wf_signal (run_id, id, name, key, payload, taken_at)
    SELECT id, id, 'go', key, 'null', now() FROM {SCHEMA}.wf_run WHERE key IS NOT NULL
"""
KIND = ["w"], ["1"]
NEW = new_run(state="succeeded", epoch=7)
DONE = changed(NEW, state="succeeded", epoch=7, finished=True)
ENTRY = logged(NEW, fresh=True)
ENDED = [1, 0, 0, 0, 1, 5]
"""As `journal.Ended`: one run succeeded, after one attempt of five milliseconds."""

FLUSH = (7, "a", *(msgspec.json.encode([row]).decode() for row in (ENTRY, DONE, NEW)), ENDED)
"""One run, begun and ended."""

RESTS = ChangedRun(A_RUN, "waiting", None, None, None, None, 7, finished=False, reopened=True)
REST = (7, "a", "[]", msgspec.json.encode([RESTS]).decode(), None)
"""One run that goes to rest, and may have been sent a signal meanwhile."""

LOG = (7, "a", msgspec.json.encode([logged(NEW, seq=1)]).decode(), ENDED)

LIMITS = '{"max_runs_per_hour":1000, "max_runs_per_day":10000, "max_queue_length":500, "rate":60}'

ADMIT = (admission.ADMIT, ("acme", LIMITS, [datetime(2026, 1, 31, tzinfo=UTC)], True))

OWNERS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "claim": (runs.CLAIM, (7, 100, *KIND, *KIND)),
    "claim these": (runs.CLAIM_THESE, (7, [A_RUN], *KIND)),
    "peek": (runs.PEEK, (A_RUN,)),
    "kinds": (runs.KINDS, ()),
    "outside": (runs.OUTSIDE, (7, *KIND, 500, *KIND)),
    "block": (runs.BLOCK, (7, ["gone"], ["1"], 100)),
    "signals": (runs.SIGNALS, ([A_RUN],)),
    "ended": (runs.ENDED, ([A_RUN],)),
    "orphans": (runs.ORPHANS, ()),
    "accepted lately": (runs.ACCEPTED_LATELY, (run_id_at(1_800_000_000),)),
    "entries": (runs.ENTRIES, ([A_RUN],)),
    "flush": (journal.FLUSH, FLUSH),
    "change of one that rests": (journal.CHANGE, REST),
    "log": (journal.LOG, LOG),
    "known": (journal.KNOWN, ([A_RUN], ["w"], ["key 500"])),
    "send": (journal.SEND, ([A_RUN], [A_RUN], ["name"], [None], ["1"])),
    "admit": ADMIT,
    "take": (journal.TAKE, ([A_RUN], [A_RUN])),
    "nudge": (journal.NUDGE, ([A_RUN],)),
    "schedules": (schedules.STORED, (["nightly"],)),
}
"""What an owner sends, over and over."""

PEOPLES: dict[str, tuple[str, tuple[Any, ...], int]] = {
    "read": (runs.READ, (A_RUN,), 1),
    "exists": (runs.EXISTS, (A_RUN,), 1),
    "the first page": (runs.PAGE, (None, None, None, None, 50), 50),
    "a later page": (runs.PAGE, (None, None, None, A_RUN, 50), 50),
    "history": (runs.HISTORY, (A_RUN, 0, None), 2),
    "dead letters": (dead.PAGE, (None, 50), DEAD),
    "oldest dead letters": (dead.OLDEST, (50,), DEAD),
    "count of dead letters": (dead.COUNT, (), DEAD),
    "discard": (dead.DISCARD, ([A_RUN],), 1),
}
"""What the API asks for, and how many rows that may read."""


@pytest.fixture
async def owner(acme: Acme) -> Connection:
    """Give the tenant its past, and take it over."""
    await acme.admin.execute(RUNS)
    await acme.admin.execute(EVENTS)
    await acme.admin.execute(SIGNALS)
    await acme.admin.execute(f"ANALYZE {SCHEMA}.wf_run, {SCHEMA}.wf_event, {SCHEMA}.wf_signal")
    connection, _ = await acme.take(7)
    return connection


async def test_no_statement_reads_more_of_a_long_past_than_it_returns(
    acme: Acme, owner: Connection
) -> None:
    await cost(owner, ADMIT[0], *ADMIT[1])  # what it reads of the catalog
    for name, (query, args) in OWNERS.items():
        spent = await cost(owner, query, *args)
        assert spent.rows <= 6, (name, spent)
        assert spent.pages <= 60, (name, spent)
    for name, (query, args, rows) in PEOPLES.items():
        spent = await cost(acme.admin, query, *args)
        assert spent.rows <= rows, (name, spent)
        assert spent.pages <= rows + 60, (name, spent)
    await costs_of_a_submission(acme)


async def costs_of_a_submission(acme: Acme) -> None:
    """Submit from SQL without limits, with some that count nothing, and with all that count."""
    submit = "SELECT insula.submit('acme', 'w')"
    await acme.admin.fetchval(submit)  # what is read once of the catalog is no cost of it
    free = await cost(acme.admin, submit)
    await limit(acme.database, allowed_queues=["default"], max_payload_bytes=100)
    await acme.admin.fetchval(submit)
    assert (await cost(acme.admin, submit)).pages <= free.pages + 2
    await limit(acme.database, max_runs_per_hour=9, max_runs_per_day=9, max_queue_length=9, rate=9)
    await acme.admin.fetchval(submit)
    assert (await cost(acme.admin, submit)).pages <= free.pages + 60


def test_every_statement_of_an_owner_is_in_the_table() -> None:
    once = {journal.TAKE_OVER, journal.CONFIRM, journal.HOLD, runs.PAUSE, runs.UNPAUSE, runs.PAUSED}
    once |= {journal.FIRE, journal.HURRY}
    asked = {query for query, *_ in [*OWNERS.values(), *PEOPLES.values()]}
    files = ("journal", "runs")
    known = {q for f in files for q in sql.load(f"orchestrator.store.tenant.{f}").values()}

    assert known - once <= asked
