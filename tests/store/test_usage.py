"""The books of the installation: what is told counts once, and old hours become days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio

from orchestrator.model.usage import Near, Used
from orchestrator.quota.alerts import WINDOWS
from orchestrator.store.connect import Connection
from orchestrator.store.control import usage
from orchestrator.store.control.usage import Owner, Wanted
from orchestrator.store.tenant.usage import HourUsed
from tests.support.database import Database
from tests.support.wait import until

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FIRST, SECOND = UUID(int=1), UUID(int=2)
END = DAY + timedelta(days=2)
WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


def hour(number: int, ledger: UUID = FIRST, **counts: int) -> HourUsed:
    """Return what was used in one hour of March."""
    return HourUsed(ledger, DAY + timedelta(hours=number), **counts)


async def rows(admin: Connection, **changes: object) -> list[Used]:
    """Return all that is told, by day, or as `changes` say."""
    wanted: dict[str, object] = {"since": DAY, "until": END, "span": "day", "limit": 10}
    return await usage.page(admin, Wanted(**wanted | changes))  # type: ignore[arg-type]


async def test_what_is_told_again_replaces_what_was_told(database: Database) -> None:
    admin = await database.connect()
    await usage.tell(admin, "acme", [hour(1, submitted=2), hour(23, submitted=1, task_ms=9)])
    await usage.tell(admin, "acme", [hour(1, submitted=3)])
    await usage.tell(admin, "acme", [hour(1, SECOND, submitted=10)])  # of another life

    (day,) = await rows(admin)

    assert (day.tenant, day.starts_at, day.submitted, day.task_ms) == ("acme", DAY, 14, 9)


async def test_who_read_before_and_tells_after_others_takes_nothing_away(
    database: Database,
) -> None:
    admin = await database.connect()
    await usage.tell(admin, "acme", [hour(1, submitted=3, task_ms=9)])
    await usage.tell(admin, "acme", [hour(1, submitted=2, task_ms=4)])

    (day,) = await rows(admin)

    assert (day.submitted, day.task_ms) == (3, 9)


async def test_of_a_tenant_that_is_another_owners_by_now_nothing_is_told(
    database: Database,
) -> None:
    admin, renaming = await database.connect(), await database.connect()
    node = UUID(int=7)
    await admin.execute(
        "INSERT INTO insula.lease (tenant, node, epoch) VALUES ('acme', $1, 3)", node
    )
    owners = [Owner(2, node), Owner(3, UUID(int=8)), Owner(3, node)]
    told = [await usage.tell(admin, "acme", [hour(1, dead=1)], owner) for owner in owners]
    assert told == [False, False, True]

    async with anyio.create_task_group() as group, renaming.transaction():
        await renaming.execute("UPDATE insula.lease SET node = NULL")
        await renaming.execute("UPDATE insula.usage SET tenant = 'globex'")
        group.start_soon(usage.tell, admin, "acme", [hour(1, dead=2)], owners[-1])
        await until(lambda: renaming.fetchval(WAITS), what="who tells waits")

    (day,) = await rows(admin)
    assert (day.tenant, day.dead) == ("globex", 1)


async def test_old_hours_become_days_and_are_not_told_again(database: Database) -> None:
    admin = await database.connect()
    hours = [hour(1, attempts=1), hour(2, attempts=2), hour(25, attempts=4)]
    await usage.tell(admin, "acme", hours)
    before = await rows(admin)

    counts = [await usage.condense(admin, DAY + timedelta(days=1), 1) for _ in range(3)]
    await usage.tell(admin, "acme", hours)
    await usage.tell(admin, "acme", [hour(3, attempts=8)])  # one that came late

    assert counts == [1, 1, 0]
    late = [each.attempts for each in await rows(admin)]
    assert ([each.attempts for each in before], late) == ([3, 4], [11, 4])
    by_hour = await rows(admin, span="hour")
    assert [(each.span, each.attempts) for each in by_hour] == [
        ("day", 3),
        ("hour", 8),
        ("hour", 4),
    ]


async def test_pages_follow_each_other_over_all_tenants(database: Database) -> None:
    admin = await database.connect()
    for number, tenant in enumerate(("acme", "b", "c")):
        ledger = UUID(int=number + 1)
        await usage.tell(admin, tenant, [hour(0, ledger, submitted=1), hour(30, ledger, dead=1)])

    found: list[Used] = []
    while page := await rows(
        admin, limit=2, after=(found[-1].tenant, found[-1].starts_at) if found else None
    ):
        found += page

    assert [each.tenant for each in found] == ["acme", "acme", "b", "b", "c", "c"]
    assert [each.submitted for each in found] == [1, 0] * 3


async def test_an_alert_is_new_once_in_a_window(database: Database) -> None:
    admin = await database.connect()
    near = Near("max_runs_per_day", DAY, 8, 10)

    found = [await usage.alert(admin, "acme", [near]) for _ in range(2)]
    found.append(await usage.alert(admin, "acme", [Near("max_runs_per_day", END, 9, 10)]))

    assert found == [{"max_runs_per_day"}, set(), {"max_runs_per_day"}]


async def test_alerts_count_until_their_window_is_over(database: Database) -> None:
    admin, now = await database.connect(), datetime.now(UTC)
    ago = {"max_runs_per_hour": (0.5, 2), "max_runs_per_day": (2, 25), "gone": (0.5,)}
    for tenant in ("acme", "globex"):
        near = [
            Near(quota, now - timedelta(hours=hours), 8, 10)
            for quota, spans in ago.items()
            for hours in spans
        ]
        await usage.alert(admin, tenant, near)

    of_all = await usage.current(admin, WINDOWS)
    of_one = await usage.current(admin, WINDOWS, "acme")

    told = {
        tenant: [(each.quota, now - each.since) for each in alerts]
        for tenant, alerts in of_all.items()
    }
    hours = [("max_runs_per_day", timedelta(hours=2)), ("max_runs_per_hour", timedelta(hours=0.5))]
    assert told == {"acme": hours, "globex": hours}
    assert of_one == {"acme": of_all["acme"]}
