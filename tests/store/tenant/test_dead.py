"""Dead letters: which runs are, and what discarding does to them."""

from __future__ import annotations

import pytest

from orchestrator.model.ids import run_id_at
from orchestrator.store import sql
from orchestrator.store.tenant import dead, runs
from orchestrator.store.tenant.journal import NewRun
from orchestrator.store.tenant.runs import Listed
from tests.store.tenant.acme import SCHEMA, Acme, batch, changed, logged, new_run


async def listed(acme: Acme) -> list[object]:
    """Return the ids of the dead letters, newest first."""
    return [run.id for run in await dead.page(acme.admin, SCHEMA, limit=10, cursor=None)]


async def added(acme: Acme, *states: str) -> list[NewRun]:
    """Add a run in each state, oldest first."""
    connection, journal = await acme.take(1)
    made = [new_run(id=run_id_at(1_000_000 + place)) for place in range(len(states))]
    finished = {"succeeded", "failed", "dead", "cancelled"}
    ends = [
        changed(run, state=state, finished=state in finished)
        for run, state in zip(made, states, strict=True)
    ]
    await journal.flush(connection, batch(made))
    await journal.flush(connection, batch(None, ends))
    return made


@pytest.mark.requirement("R12.exhausted")
async def test_failed_and_dead_runs_are_dead_letters(acme: Acme) -> None:
    _, failed, _, died, _ = await added(acme, "running", "failed", "succeeded", "dead", "cancelled")

    first = await dead.page(acme.admin, SCHEMA, limit=1, cursor=None)
    rest = await dead.page(acme.admin, SCHEMA, limit=9, cursor=first[-1].id)

    assert [run.id for run in first + rest] == [died.id, failed.id]
    assert await dead.oldest(acme.admin, SCHEMA, 1) == [failed.id]
    assert await dead.count(acme.admin, SCHEMA) == 2


async def test_only_what_has_failed_is_discarded(acme: Acme) -> None:
    made = await added(acme, "running", "failed", "succeeded", "dead", "failed")
    _, failed, _, died, kept = made
    everything = await acme.value("SELECT array_agg(id) FROM tenant.wf_run")

    done = await dead.discard(acme.admin, SCHEMA, [r for r in everything if r != kept.id])

    assert set(done) == {failed.id, died.id}
    assert await listed(acme) == [kept.id]
    query = "SELECT state FROM tenant.wf_run WHERE id = $1 AND discarded_at IS NOT NULL"
    assert await acme.value(query, failed.id) == "failed"


async def test_a_discarded_run_that_fails_again_is_a_dead_letter_again(acme: Acme) -> None:
    (run,) = await added(acme, "failed")
    await dead.discard(acme.admin, SCHEMA, [run.id])
    connection, journal = await acme.take(2)

    reopened = changed(run, state="running", epoch=2, reopened=True)
    await journal.flush(connection, batch(None, [reopened]))
    assert await listed(acme) == []
    assert await dead.discard(acme.admin, SCHEMA, [run.id]) == []

    await journal.flush(connection, batch(None, [changed(run, state="failed", finished=True)]))
    assert await listed(acme) == [run.id]


async def test_dead_letters_are_found_by_their_index(acme: Acme) -> None:
    await acme.admin.execute("SET enable_seqscan = off")
    for query, arguments in (
        (dead.PAGE, "(NULL, 10)"),
        (dead.OLDEST, "(10)"),
        (dead.COUNT, ""),
    ):
        await acme.admin.execute(f"PREPARE looked AS {sql.bind(query, SCHEMA)}")
        plan = await acme.admin.fetch(f"EXPLAIN EXECUTE looked {arguments}")
        assert "wf_run_dead" in "\n".join(row[0] for row in plan)
        await acme.admin.execute("DEALLOCATE looked")


async def test_the_columns_of_a_page_are_those_of_every_list(acme: Acme) -> None:
    statement = await acme.admin.prepare(sql.bind(dead.PAGE, SCHEMA))

    columns = [attribute.name for attribute in statement.get_attributes()]
    assert columns == list(Listed.__struct_fields__)


async def test_a_journal_is_read_from_an_entry_on(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run, other = new_run(), new_run()
    await journal.flush(connection, batch([run, other]))
    for seq in (0, 3, 4, 9):
        await journal.flush(connection, batch(None, None, [logged(run, seq)]))

    async def found(first: int, limit: int | None = None) -> list[int]:
        part = await runs.history(acme.admin, SCHEMA, run.id, first=first, limit=limit)
        return [moment.seq for moment in part]

    assert [await found(first) for first in (0, 2, 3, 8, 9, 100)] == [
        [0, 3, 4, 9], [0, 3, 4, 9], [3, 4, 9], [4, 9], [9], [9],
    ]  # fmt: skip
    assert await found(3, 2) == [3, 4]
    assert await runs.history(acme.admin, SCHEMA, other.id) == []
    assert await runs.exists(acme.admin, SCHEMA, other.id)
    assert not await runs.exists(acme.admin, SCHEMA, new_run().id)
