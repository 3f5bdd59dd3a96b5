"""A schedule through the daemon as a process: it fires by itself, also over a kill and a reload."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.model.api import ScheduleView
from orchestrator.model.errors import ScheduleNotFound
from tests.daemon.process import Daemon, daemon
from tests.support.database import Database
from tests.support.wait import until

OFTEN = """
[[tenants.acme.schedules]]
name = "often"
workflow = "whoami"
every = "1s"
catch_up = "all"
overlap = "allow"
"""
DAILY = """
[[tenants.acme.schedules]]
name = "daily"
workflow = "whoami"
cron = "0 3 * * *"
timezone = "Europe/Berlin"
"""
MISTAKEN = """
[[tenants.acme.schedules]]
name = "mistaken"
workflow = "whomai"
cron = "0 4 * * *"
"""
RUNS = "SELECT count(*) FROM tenant_acme.wf_run WHERE state = 'succeeded' AND key LIKE 'schedule:%'"
FIRES = """
SELECT f.fire_at, f.outcome, count(r.id) FROM tenant_acme.wf_fire AS f
LEFT JOIN tenant_acme.wf_run AS r ON r.id = f.run_id
WHERE f.schedule = 'often' GROUP BY f.fire_at, f.outcome ORDER BY f.fire_at
"""


async def schedules(served: Daemon) -> dict[str, ScheduleView]:
    """Return acme's schedules."""
    async with served.client() as client:
        return {each.name: each for each in await client.tenant("acme").schedules()}


@pytest.mark.slow
async def test_a_schedule_fires_every_second_over_kill_and_restart(
    database: Database, state_dir: Path
) -> None:
    admin = await database.connect()

    async def finished(count: int) -> None:
        async def enough() -> bool:
            made = await admin.fetchval("SELECT to_regclass('tenant_acme.wf_run') IS NOT NULL")
            return bool(made) and await admin.fetchval(RUNS) >= count

        await until(enough, within=20)

    async with daemon(state_dir) as served:
        served.configure(database=database, more=OFTEN)
        await served.start()
        await finished(2)
        await served.kill()
        before = await admin.fetchval(RUNS)
        await served.start()
        await finished(before + 3)
        often = (await schedules(served))["often"]
        assert often.last_fire is not None
        assert (often.last_fire.outcome, often.paused) == ("started", False)
        assert await served.stop() == 0
    fires = await admin.fetch(FIRES)
    assert {(outcome, runs) for _, outcome, runs in fires} == {("started", 1)}
    first, last = fires[0][0], fires[-1][0]
    assert last - first == timedelta(seconds=len(fires) - 1)
    assert await admin.fetchval("SELECT count(*) FROM tenant_acme.wf_run") == len(fires)


async def test_schedules_are_seen_paused_fired_warned_of_and_reloaded(
    database: Database, state_dir: Path
) -> None:
    admin = await database.connect()
    async with daemon(state_dir) as served:
        served.configure(database=database, more=DAILY)
        await served.start()
        async with served.client() as client:
            daily = client.tenant("acme").schedule("daily")
            never_used = (await schedules(served))["daily"]
            assert never_used.next_fire_at is not None
            assert never_used.next_fire_at.minute == 0
            assert await admin.fetchval("SELECT to_regnamespace('tenant_acme')") is None
            with pytest.raises(ScheduleNotFound, match="no schedule 'dayly'"):
                await client.tenant("acme").schedule("dayly").fire()
            assert await admin.fetchval("SELECT to_regnamespace('tenant_acme')") is None

            paused = await daily.pause()
            assert (paused.paused, paused.next_fire_at) == (True, None)
            run = await daily.fire()
            assert (await run.result(timeout=20)).state == "succeeded"
            assert await served.stop() == 0

            served.configure(database=database, more=DAILY + MISTAKEN)
            await served.start()
            is_warned_of_the_mistake(served)
            assert (await schedules(served))["daily"].paused
            assert (await daily.resume()).next_fire_at == never_used.next_fire_at

            served.configure(database=database, more=DAILY + OFTEN)
            report = await client.reload()
            assert report.changed == {"acme": ["schedules"]}
            assert set(await schedules(served)) == {"daily", "often"}
            served.configure(database=database, more=OFTEN.replace("1s", "1 s"))
            refused = await client.reload()
            assert not refused.applied
            assert "insula.toml:11: tenants.acme.schedules[0].every" in refused.problems[0]
            assert set(await schedules(served)) == {"daily", "often"}


def is_warned_of_the_mistake(served: Daemon) -> None:
    (warning,) = served.events("config.workflow_unfit")
    assert "insula.toml:16: tenants.acme.schedules[1].workflow" in warning["problem"]
    assert "did you mean 'whoami'?" in warning["problem"]
