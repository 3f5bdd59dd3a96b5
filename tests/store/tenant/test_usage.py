"""The counts of a tenant: fenced, exactly once, and folded without a loss."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from orchestrator.store.connect import Connection
from orchestrator.store.tenant import usage
from orchestrator.store.tenant.journal import Batch, Ended, Journal
from orchestrator.store.tenant.usage import HourUsed
from tests.store.tenant.acme import Acme, batch, changed, logged, new_run

ENDED = Ended(succeeded=1, attempts=2, task_ms=30)
ROWS = "SELECT count(*) FROM tenant.wf_usage"
OLD = "UPDATE tenant.wf_usage SET hour = hour - interval '8 days'"


async def used(acme: Acme) -> HourUsed:
    """Return the only hour in which anything was used."""
    (hour,) = await usage.read(acme.admin, "tenant_acme")
    return hour


async def flushed(journal: Journal, connection: Connection, batch: Batch) -> None:
    """Flush a batch that the fence lets through."""
    assert await journal.flush(connection, batch) is not None


def done(run: object, **counted: int) -> Batch:
    """Return a flush in which a run ends."""
    entries = [logged(run)]  # type: ignore[arg-type]
    return msgspec.structs.replace(
        batch(None, [changed(run, state="succeeded", finished=True)], entries),  # type: ignore[arg-type]
        ended=Ended(**counted) if counted else ENDED,
    )


async def test_a_batch_counts_once_however_often_it_is_sent(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run, other = new_run(epoch=1, input='{"a":1}'), new_run(epoch=1)
    both = batch([run, other], None, [logged(run, fresh=True)])
    alone = msgspec.structs.replace(batch(None, None, [logged(other)]), ended=Ended(attempts=1))

    for each in (both, both, done(run, succeeded=1), alone, alone):
        await flushed(journal, connection, each)

    hour = await used(acme)
    counts = (hour.submitted, hour.input_bytes, hour.succeeded, hour.attempts)
    assert counts == (2, len('{"a":1}{}'), 0, 1)  # entry 0 of `run` was there before it ended


@pytest.mark.requirement("T9.usage")
async def test_a_former_owner_counts_nothing(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    run = new_run(epoch=1)
    await flushed(journal, connection, batch([run]))
    await acme.take(2)

    assert await journal.flush(connection, done(run)) is None

    assert (await used(acme)).succeeded == 0


async def test_folding_keeps_the_sums_and_tells_them_until_they_are_known(acme: Acme) -> None:
    connection, journal = await acme.take(1)
    owned = acme.owned(2)
    for number in range(3):
        run = new_run(epoch=1)
        await flushed(journal, connection, batch([run]))
        await flushed(journal, connection, done(run, failed=number + 1))
    before, moment = await used(acme), await owned.open()

    assert [await owned.usage.fold(4) for _ in range(3)] == [4, 2, 0]

    assert (await acme.value(ROWS), await used(acme)) == (1, before)
    assert await owned.usage.untold(10) == [before]
    await owned.usage.mark([before], keep_from=moment - timedelta(days=7))
    assert (await owned.usage.untold(10), await acme.value(ROWS)) == ([], 1)
    await acme.value("INSERT INTO tenant.wf_usage (submitted) VALUES (1)")
    await owned.usage.fold(4)
    (grown,) = await owned.usage.untold(10)
    assert grown.submitted == before.submitted + 1
    await owned.close()


async def test_old_hours_leave_once_they_are_known_elsewhere(acme: Acme) -> None:
    owned = acme.owned(1)
    moment = await owned.open()
    await acme.value("INSERT INTO tenant.wf_usage (attempts) VALUES (1)")
    await owned.usage.fold(4)
    await acme.value(OLD)
    for kept in (1, 0):
        assert await acme.value(ROWS) == 1
        told = await owned.usage.untold(10)
        await owned.usage.mark(told, keep_from=moment - timedelta(days=7))
        assert await acme.value(ROWS) == kept
    await owned.close()
