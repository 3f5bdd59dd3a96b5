"""However many runs wait, taking some and looking at the rest reads only a few of them."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.store.connect import Connection
from orchestrator.store.tenant import runs
from tests.store.tenant.acme import SCHEMA, Acme
from tests.store.tenant.costs import cost

EACH = 3_000
TAKEN = 100

FILL = """
    INSERT INTO tenant.wf_run
        (id, workflow, version, state, queue, priority, epoch, input, due_at, error)
    SELECT gen_random_uuid(), $1, $2, $3, 'default', 0, 0, '{}', $4::text::timestamptz,
           $5::text::json
    FROM generate_series(1, $6)
"""
"""So many runs of one kind."""

NOT_SERVED, DIVERGED = '{"type":"WorkflowNotServed"}', '{"type":"NonDeterminism"}'
BACKLOG: list[tuple[Any, ...]] = [
    ("w", "1", "queued", None, None),
    ("held_up", "1", "queued", None, None),
    ("held_up", "1", "running", None, None),
    ("w", "1", "queued", "infinity", None),
    ("w", "1", "waiting", "infinity", None),
    ("held_up", "1", "waiting", "-infinity", None),
    ("gone", "1", "blocked", None, NOT_SERVED),
    ("w", "1", "blocked", None, DIVERGED),
]
SERVED = ["w", "held_up", "w", "held_up"], ["1", "1", "", ""]
KINDS = ["w", "held_up"], ["1", "1"]


@pytest.fixture
async def owner(acme: Acme) -> Connection:
    """Fill the tenant's tables and take it over."""
    fill = FILL.replace("tenant.", f"{SCHEMA}.")
    for kind in BACKLOG:
        await acme.admin.execute(fill, *kind, EACH)
    await acme.admin.execute(f"INSERT INTO {SCHEMA}.wf_pause (workflow) VALUES ('held_up')")
    await acme.admin.execute(f"ANALYZE {SCHEMA}.wf_run")
    connection, _ = await acme.take(7)
    return connection


async def test_a_claim_reads_what_it_takes(owner: Connection) -> None:
    spent = await cost(owner, runs.CLAIM, 7, TAKEN, *SERVED, *KINDS)
    assert TAKEN <= spent.runs <= 4 * TAKEN


async def test_a_claim_with_nothing_to_take_reads_nothing(owner: Connection) -> None:
    served = ["held_up"], ["1"]
    spent = await cost(owner, runs.CLAIM, 7, TAKEN, *served, *served)
    assert spent.runs == 0
    assert spent.pages < 50


async def test_a_look_at_what_waits_reads_a_few_of_each_kind(owner: Connection) -> None:
    spent = await cost(owner, runs.OUTSIDE, 7, *KINDS, 0, *SERVED)
    assert spent.runs <= 10
    assert spent.pages < 50
    counted = await cost(owner, runs.OUTSIDE, 7, *KINDS, 500, *SERVED)
    assert 500 <= counted.runs <= 520


async def test_the_kinds_that_wait_are_found_without_reading_their_runs(owner: Connection) -> None:
    spent = await cost(owner, runs.KINDS)
    assert spent.runs <= 10
    assert spent.pages < 50


async def test_parking_what_is_not_served_goes_on_in_bounded_lots(owner: Connection) -> None:
    spent = await cost(owner, runs.BLOCK, 7, ["held_up"], ["1"], TAKEN)
    assert 3 * TAKEN <= spent.runs <= 9 * TAKEN
    idle = await cost(owner, runs.BLOCK, 7, ["other"], ["1"], TAKEN)
    assert idle.runs == 0
