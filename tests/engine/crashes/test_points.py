"""kill -9 at each point where it could hurt: who takes over loses nothing and doubles nothing."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import anyio
import msgspec
import pytest

from tests.engine.crashes.flow import WORKFLOWS
from tests.engine.crashes.process import Orders, config
from tests.engine.live import House, Options, serving
from tests.support.database import Database, migrations

ROOT = Path(__file__).parents[3]
EFFECTS = "CREATE TABLE effect (task text, attempt int)"

ENDS = {"task.succeeded", "task.retrying", "task.failed", "task.parked"}

# The attempts at the first task that leave their effect. Of those the first fails, and one that is
# lost is made again.
PLAIN = {
    "after the submit is committed": [2],
    "after the claim": [1, 2],
    "in the task": [2],
    "after the effect": [1, 2],
    "before the retry is committed": [1, 2],
    "after the retry is committed": [1, 2],
    "before the completion is committed": [1, 2, 3],
    "after the completion is committed": [1, 2],
    "before the fire is committed": [1, 2],
    "after the fire is committed": [2],
}
# A transactional task leaves its effect once, with its completion or not at all.
EXACT = {
    "after the effect": [2],
    "before the transaction is committed": [3],
    "after the transaction is committed": [2],
}
POINTS = [
    *(pytest.param("plain", *each, id=each[0]) for each in PLAIN.items()),
    *(
        pytest.param("exact", *each, id=f"exact-{each[0]}", marks=pytest.mark.slow)
        for each in EXACT.items()
    ),
]


async def killed(orders: Orders) -> None:
    """Run the process until it has killed itself."""
    done = await anyio.run_process(
        [sys.executable, "-m", "tests.engine.crashes.process"],
        input=msgspec.json.encode(orders),
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize(("workflow", "point", "attempts"), POINTS)
@pytest.mark.requirement("R3.recovery", "R7.once")
async def test_nothing_is_lost_or_doubled_after_a_kill(
    database: Database, tmp_path: Path, workflow: str, point: str, attempts: list[int]
) -> None:
    await database.provision("acme", migrations(tmp_path / "app", effects=EFFECTS))
    house = House(database, await database.connect(), epoch=1)
    orders = Orders(
        point,
        workflow,
        engine=database.as_engine("acme").url,
        app=database.as_app("acme").url,
        submits="submit" in point,
        fires_at=datetime.now(UTC) - timedelta(minutes=10) if "fire" in point else None,
    )
    if not orders.submits and orders.fires_at is None:
        await house.value("SELECT insula.submit('acme', $1, '{}'::jsonb)", workflow)

    await killed(orders)
    options = Options(config=config(orders), crashed=True)
    async with serving(house, WORKFLOWS[workflow], options=options) as live:
        await live.later(1)  # what was due fires
        await live.later(1)  # what failed is tried again

    run = await house.value("SELECT id FROM tenant.wf_run")
    assert await house.value("SELECT count(*) FROM tenant.wf_run") == 1
    assert await house.value("SELECT count(*) FROM tenant.wf_fire") == int("fire" in point)
    await check(house, run, attempts)


async def check(house: House, run: UUID, attempts: list[int]) -> None:
    """Check that the run has done all it should, in order and once."""
    told = await house.told(run)
    effects = await house.admin.fetch("SELECT task, attempt FROM tenant_acme.effect ORDER BY 1, 2")

    assert (await house.row(run)).state == "succeeded"
    assert told.count("task.succeeded work") == told.count("task.succeeded finish") == 1
    assert told.index("task.succeeded work") < told.index("task.started finish")
    assert told.index("run.succeeded") == len(told) - 1
    assert [attempt for task, attempt in effects if task == "work"] == attempts
    assert len([task for task, _ in effects if task == "finish"]) == 1
    ended = [each for each in told if each.partition(" ")[0] in ENDS]
    assert await house.used() == {"submitted": 1, "succeeded": 1, "attempts": len(ended)}
