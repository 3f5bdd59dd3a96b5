"""Which runs an owner takes into memory, and which it leaves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from orchestrator.model.ids import run_id_at
from orchestrator.quota.window import DAY, HOUR
from orchestrator.store.connect import Connection
from orchestrator.store.tenant import runs
from orchestrator.store.tenant.runs import Claims, Outside, RunFilter
from tests.store.tenant.acme import SCHEMA, SERVED, Acme, batch, changed, logged, new_run


def claims(epoch: int) -> Claims:
    """Return the claims of one owner."""
    return Claims(SCHEMA, epoch=epoch, served=lambda: SERVED)


async def look(connection: Connection, epoch: int, *, count_to: int = 100) -> Outside:
    """Return what the owner sees outside its memory."""
    outside = await claims(epoch).outside(connection, count_to=count_to)
    assert outside is not None
    return outside


async def test_queued_runs_are_claimed_by_rank(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    added = [new_run(rank=rank) for rank in (40, 10, 60, 30, 20, 50)]
    await journal.flush(connection, batch(added))
    order = sorted(added, key=lambda run: run.rank)
    for lot in (order[:2], order[2:4], order[4:]):
        found = await claims(1).claim(connection, 2)
        assert {run.id for run in found} == {run.id for run in lot}


async def test_only_what_no_living_owner_holds_is_claimed(acme: Acme) -> None:
    connection, journal = await acme.take(7)
    mine, outside, orphan, done = (new_run(epoch=epoch) for epoch in (7, 0, 3, 3))
    await journal.flush(connection, batch([mine, outside, orphan, done]))
    await journal.flush(connection, batch([], [changed(done, finished=True)]))
    assert (await look(connection, 7)).waiting
    found = await claims(7).claim(connection, 100)
    assert {run.id for run in found} == {outside.id, orphan.id}
    assert not (await look(connection, 7)).waiting
    assert await claims(7).claim(connection, 100) == []


async def test_work_under_way_and_due_comes_before_what_is_queued(acme: Acme) -> None:
    connection, journal = await acme.take(7)
    now = datetime.now(UTC)
    queued, orphan = new_run(), new_run(state="running", epoch=3)
    due, later = (new_run(due_at=now + timedelta(seconds=s), rank=-1) for s in (-1, 3600))
    await journal.flush(connection, batch([queued, orphan, due, later]))
    assert await look(connection, 7) == Outside(True, 2, later.due_at)
    assert (await look(connection, 7, count_to=1)).queued == 1
    found = [(await claims(7).claim(connection, 1))[0].id for _ in range(3)]
    assert found == [orphan.id, due.id, queued.id]
    assert await claims(7).claim(connection, 9) == []
    assert await look(connection, 7) == Outside(False, 0, later.due_at)


async def test_an_old_epoch_claims_and_blocks_nothing(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    await journal.flush(connection, batch([new_run(), new_run(workflow="gone")]))
    before = await acme.contents()
    await acme.take(2)
    assert await claims(1).outside(connection, count_to=0) is None
    assert await claims(1).claim(connection, 10) == []
    assert await acme.contents() == before


async def test_what_is_not_served_is_blocked_with_the_reason_and_claimed_when_it_is(
    acme: Acme,
) -> None:
    connection, journal = await acme.take(1)
    stranger, old, ours = new_run(workflow="gone"), new_run(version="0"), new_run()
    await journal.flush(connection, batch([stranger, old, ours]))
    assert await look(connection, 1) == Outside(True, 1, None, blocked=2)
    assert (await look(connection, 1)).blocked == 0
    assert [run.id for run in await claims(1).claim(connection, 10)] == [ours.id]
    assert not (await look(connection, 1)).waiting
    stored = await runs.read(connection, SCHEMA, stranger.id)
    assert stored is not None
    assert stored.state == "blocked"
    assert msgspec.json.decode(stored.error or "")["message"] == (
        "no node serves workflow gone version 1 to this tenant"
    )
    later, _ = await acme.take(2)
    served = Claims(SCHEMA, epoch=2, served=lambda: [*SERVED, ("gone", "1"), ("w", "0")])
    assert await served.outside(later, count_to=0) == Outside(True, 0, None)
    found = await served.claim(later, 10)
    assert {run.id for run in found} == {stranger.id, old.id, ours.id}


async def test_journals_are_read_in_order(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    one, two = new_run(), new_run()
    await journal.flush(connection, batch([one, two], [], [logged(one, 3), logged(two, 0)]))
    await journal.flush(connection, batch([], [], [logged(one, 0), logged(one, 1)]))
    found = await claims(1).entries(connection, [one.id, two.id])
    assert [(each.run_id, each.seq) for each in found] == sorted(
        [(one.id, 0), (one.id, 1), (one.id, 3), (two.id, 0)]
    )
    history = await runs.history(connection, SCHEMA, one.id)
    assert [moment.seq for moment in history] == [0, 1, 3]


async def test_runs_of_the_last_day_are_counted_by_minute(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    now = datetime.now(UTC).replace(microsecond=0)
    ages = [timedelta(seconds=1), timedelta(hours=2), timedelta(hours=2), timedelta(hours=25)]
    added = [
        new_run(id=type(run_id_at(0))(int=run_id_at((now - age).timestamp()).int + place))
        for place, age in enumerate(ages)
    ]
    await journal.flush(connection, batch(added))
    counted = (await claims(1).inherited(connection, DAY)).accepted
    minutes = [(now - age).replace(second=0) for age in ages]
    assert counted == [(minutes[1], 2), (minutes[0], 1)]
    counted = (await claims(1).inherited(connection, HOUR)).accepted
    assert counted == [(minutes[0], 1)]
    assert (await claims(1).inherited(connection, timedelta(0))).accepted == []


async def test_pages_go_back_in_time_and_filters_hold(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    added = [new_run(id=run_id_at(1_000_000 + place)) for place in range(5)]
    other = new_run(id=run_id_at(1), workflow="v")
    await journal.flush(connection, batch([*added, other], [changed(added[2], finished=True)]))
    first = await runs.page(connection, SCHEMA, RunFilter(limit=3))
    rest = await runs.page(connection, SCHEMA, RunFilter(limit=9, cursor=first[-1].id))
    assert [run.id for run in first + rest] == [run.id for run in [*added[::-1], other]]
    only = await runs.page(connection, SCHEMA, RunFilter(workflow="v"))
    assert [run.id for run in only] == [other.id]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await runs.page(connection, SCHEMA, RunFilter(since=later)) == []


async def test_a_run_that_is_not_there_is_none(acme: Acme) -> None:
    connection, _ = await acme.take(1)
    assert await runs.read(connection, SCHEMA, run_id_at(0)) is None
