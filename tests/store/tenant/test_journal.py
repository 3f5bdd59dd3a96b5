"""The group commit and its fence, on a real database."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
import pytest

from orchestrator.store.connect import Connection
from orchestrator.store.tenant.journal import CHANGE, FLUSH, Committed, Journal, Known
from tests.store.tenant.acme import Acme, batch, changed, logged, new_run
from tests.support.wait import until


async def until_it_waits(acme: Acme, connection: Connection) -> None:
    """Return when the connection's statement waits for another's transaction."""
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    await until(partial(acme.value, query, connection.get_server_pid()), what="it waits for a lock")


async def committed(journal: Journal, connection: Connection, *args: object) -> Committed:
    """Flush a batch that the fence lets through."""
    answer = await journal.flush(connection, batch(*args))  # type: ignore[arg-type]
    assert answer is not None
    return answer


async def test_a_flush_adds_changes_and_logs_at_once(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    old = new_run(epoch=1)
    await committed(journal, connection, [old])
    run = new_run(epoch=1, state="running", tags='["a","b \\"c\\""]', input='{"x":1}', key="k")
    done = changed(old, state="succeeded", output="[1]", context="{}", finished=True)
    answer = await committed(
        journal, connection, [run], [done], [logged(run, fresh=True), logged(old)]
    )
    assert answer.added == 1
    row = await acme.admin.fetchrow("SELECT * FROM tenant_acme.wf_run WHERE id = $1", run.id)
    assert row is not None
    assert (row["state"], row["tags"], row["input"]) == ("running", ["a", 'b "c"'], '{"x":1}')
    assert row["started_at"] is not None
    assert await acme.value("SELECT state FROM tenant.wf_run WHERE id = $1", old.id) == "succeeded"
    assert await acme.value("SELECT count(*) FROM tenant.wf_event WHERE epoch = 1") == 2


async def test_entries_alone_are_stored_without_opening_the_runs(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run = new_run()
    await committed(journal, connection, [run])
    async with acme.admin.transaction():
        await acme.admin.execute("LOCK TABLE tenant_acme.wf_run IN ACCESS EXCLUSIVE MODE")
        await committed(journal, connection, None, None, [logged(run)])
    assert await acme.value("SELECT count(*) FROM tenant.wf_event") == 1


def test_runs_change_alike_with_new_ones_and_without() -> None:
    change = CHANGE[CHANGE.index("changed AS (") : CHANGE.index("logged AS (")]
    assert change in FLUSH


async def test_an_old_epoch_writes_nothing(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run = new_run()
    await committed(journal, connection, [run])
    before = await acme.contents()
    await acme.take(2)
    late = batch([new_run()], [changed(run)], [logged(run)])
    assert await journal.flush(connection, late) is None
    assert await journal.confirm(connection) is None
    assert await acme.contents() == before


async def test_an_epoch_is_taken_once(acme: Acme) -> None:
    await acme.take(5)
    connection = await acme.connect()
    for epoch in (4, 5):
        assert await Journal("tenant_acme", epoch=epoch, node="b").take_over(connection) is None
    assert await acme.value("SELECT epoch FROM tenant.wf_fence") == 5


async def test_a_takeover_waits_for_a_flush_under_way(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run = new_run()
    rival = await acme.connect()
    async with connection.transaction():
        await committed(journal, connection, [run])
        takeover = asyncio.create_task(Journal("tenant_acme", epoch=2, node="b").take_over(rival))
        await until_it_waits(acme, rival)
        assert not takeover.done()
    assert await takeover is not None
    assert await acme.value("SELECT id FROM tenant.wf_run") == run.id


async def test_a_flush_that_waits_for_a_takeover_is_refused(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    rival = await acme.connect()
    async with rival.transaction():
        await Journal("tenant_acme", epoch=2, node="b").take_over(rival)
        flush = asyncio.create_task(journal.flush(connection, batch([new_run()])))
        await until_it_waits(acme, connection)
    assert await flush is None
    assert await acme.contents() == []


async def test_a_batch_sent_twice_changes_nothing(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    old, run, keyed = new_run(epoch=1), new_run(epoch=1), new_run(epoch=1, key="k")
    await committed(journal, connection, [old])
    parts = (
        [run, keyed],
        [changed(old, state="failed", error="{}", finished=True)],
        [logged(run, fresh=True), logged(keyed, fresh=True), logged(old)],
    )
    assert (await committed(journal, connection, *parts)).added == 2
    before = await acme.contents()
    assert (await committed(journal, connection, *parts)).added == 0
    assert await acme.contents() == before
    stored = await journal.known(connection, [run.id, keyed.id], [("w", "k")])
    assert {each.id for each in stored} == {run.id, keyed.id}


async def test_a_known_key_is_told_and_its_run_and_entries_are_not_added(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    first = new_run(key="k", state="running")
    await committed(journal, connection, [first])
    again, other, same_key = (new_run(key=key) for key in ("k", "other", "other"))
    entries = [logged(each, fresh=True) for each in (again, other, same_key)]
    answer = await committed(journal, connection, [again, other, same_key], [], entries)
    assert answer.added == 1
    found = await journal.known(connection, [other.id], [("w", "k"), ("w", "other")])
    stored = sorted(found, key=lambda known: known.id)
    assert stored == [
        Known(id=first.id, workflow="w", key="k", state="running"),
        Known(id=other.id, workflow="w", key="other", state="queued"),
    ]
    assert await acme.value("SELECT array_agg(run_id) FROM tenant.wf_event") == [other.id]


async def test_a_key_belongs_to_one_workflow(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    both = [new_run(key="k"), new_run(key="k", workflow="v")]
    assert (await committed(journal, connection, both)).added == 2


async def test_a_finished_run_is_never_changed(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run = new_run(epoch=1)
    await committed(journal, connection, [run])
    await committed(
        journal, connection, [], [changed(run, state="succeeded", output="1", finished=True)]
    )
    before = await acme.contents()
    await committed(journal, connection, [], [changed(run, state="failed", finished=True)])
    assert await acme.contents() == before


@pytest.mark.requirement("R13.order")
async def test_entries_that_overlap_are_not_written_over(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run = new_run()
    await committed(journal, connection, [run], [], [logged(run, 0, fresh=True)])
    before = await acme.contents()
    await committed(journal, connection, [], [], [logged(run, 0)])
    assert await acme.contents() == before


REFUSED: list[dict[str, object]] = [
    {"input": "no json"},
    {"priority": 10},
    {"priority": 2**31},
    {"key": "a\0b"},
    {"key": "\ud800"},
    {"tags": "{}"},
]
"""What PostgreSQL or the driver will not take; the callers let none of it come this far."""


async def test_a_batch_with_a_row_that_is_refused_writes_nothing(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    for poison in REFUSED:
        with pytest.raises((asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)):
            await journal.flush(connection, batch([new_run(), new_run(**poison)]))
    assert await acme.contents() == []
    assert (await committed(journal, connection, [new_run()])).added == 1


async def test_the_engine_may_not_rewrite_what_happened_out_of_its_statements(acme: Acme) -> None:
    connection, _ = await acme.take(1)
    for statement in (
        "TRUNCATE {}.wf_event",
        "DROP TABLE {}.wf_run",
        "ALTER TABLE {}.wf_run ADD x int",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format("tenant_acme"))
