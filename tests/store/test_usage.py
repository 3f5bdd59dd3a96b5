"""The books of the installation: what is told counts once, and old hours become days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio

from orchestrator.model.ids import TenantId
from orchestrator.model.usage import Near, Used
from orchestrator.quota.alerts import WINDOWS
from orchestrator.store.connect import Connection
from orchestrator.store.control import tenants, usage
from orchestrator.store.control.usage import Owner, Wanted
from orchestrator.store.tenant.usage import HourUsed
from tests.support.database import Database
from tests.support.wait import until

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FIRST, SECOND = UUID(int=1), UUID(int=2)
ACME = UUID(int=11)
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
    await usage.tell(admin, "acme", ACME, [hour(1, submitted=2), hour(23, submitted=1, task_ms=9)])
    await usage.tell(admin, "acme", ACME, [hour(1, submitted=3)])
    await usage.tell(admin, "acme", ACME, [hour(1, SECOND, submitted=10)])  # of another life

    (day,) = await rows(admin)

    assert (day.tenant, day.starts_at, day.submitted, day.task_ms) == ("acme", DAY, 14, 9)


async def test_who_read_before_and_tells_after_others_takes_nothing_away(
    database: Database,
) -> None:
    admin = await database.connect()
    await usage.tell(admin, "acme", ACME, [hour(1, submitted=3, task_ms=9)])
    await usage.tell(admin, "acme", ACME, [hour(1, submitted=2, task_ms=4)])

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
    told = [await usage.tell(admin, "acme", ACME, [hour(1, dead=1)], owner) for owner in owners]
    assert told == [False, False, True]

    async with anyio.create_task_group() as group, renaming.transaction():
        await renaming.execute("UPDATE insula.lease SET node = NULL")
        await renaming.execute("UPDATE insula.usage SET tenant = 'globex'")
        group.start_soon(usage.tell, admin, "acme", ACME, [hour(1, dead=2)], owners[-1])
        await until(lambda: renaming.fetchval(WAITS), what="who tells waits")

    (day,) = await rows(admin)
    assert (day.tenant, day.dead) == ("globex", 1)


async def test_old_hours_become_days_and_are_not_told_again(database: Database) -> None:
    admin = await database.connect()
    hours = [hour(1, attempts=1), hour(2, attempts=2), hour(25, attempts=4)]
    await usage.tell(admin, "acme", ACME, hours)
    before = await rows(admin)

    counts = [await usage.condense(admin, DAY + timedelta(days=1), 1) for _ in range(3)]
    await usage.tell(admin, "acme", ACME, hours)
    await usage.tell(admin, "acme", ACME, [hour(3, attempts=8)])  # one that came late

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
        hours = [hour(0, ledger, submitted=1), hour(30, ledger, dead=1)]
        await usage.tell(admin, tenant, ledger, hours)

    found = await paged(admin)

    assert [each.tenant for each in found] == ["acme", "acme", "b", "b", "c", "c"]
    assert [each.submitted for each in found] == [1, 0] * 3


async def test_two_tenants_that_were_called_alike_are_billed_apart(database: Database) -> None:
    admin = await database.connect()
    former = await registered(admin, "acme")
    await usage.tell(admin, "acme", former, [hour(1, submitted=1), hour(30, submitted=2)])
    await gone(admin, "acme")
    present = await registered(admin, "acme")
    await usage.tell(admin, "acme", present, [hour(1, SECOND, submitted=10)])
    await usage.condense(admin, DAY + timedelta(days=1), 9)

    found = await paged(admin, limit=1)

    told = {(each.registration, each.gone, each.starts_at.day): each.submitted for each in found}
    assert told == {(former, True, 1): 1, (former, True, 2): 2, (present, False, 1): 10}
    assert [each.starts_at.day for each in found] == [1, 1, 2]


async def paged(admin: Connection, limit: int = 2) -> list[Used]:
    """Return all that is told, page after page."""
    found: list[Used] = []
    after: tuple[str, datetime, UUID] | None = None
    while page := await rows(admin, limit=limit, after=after):
        found += page
        last = found[-1]
        after = (last.tenant, last.starts_at, last.registration)
    return found


async def registered(admin: Connection, tenant: str) -> UUID:
    """Register a tenant, and return what tells it from others of its id."""
    return (await tenants.register(admin, TenantId(tenant), "{}")).registration


async def gone(admin: Connection, tenant: str) -> None:
    """Delete a tenant."""
    await tenants.mark_deleting(admin, TenantId(tenant), "purge")
    await tenants.bury(admin, TenantId(tenant), None)


async def test_an_alert_is_new_once_in_a_window(database: Database) -> None:
    admin = await database.connect()
    near = Near("max_runs_per_day", DAY, 8, 10)
    acme = await registered(admin, "acme")

    found = [await usage.alert(admin, acme, [near]) for _ in range(2)]
    found.append(await usage.alert(admin, acme, [Near("max_runs_per_day", END, 9, 10)]))

    assert found == [{"max_runs_per_day"}, set(), {"max_runs_per_day"}]


async def test_a_tenant_that_is_made_anew_within_the_window_is_warned_again(
    database: Database,
) -> None:
    admin = await database.connect()
    near = Near("max_runs_per_day", DAY, 8, 10)
    former = await registered(admin, "acme")
    await usage.alert(admin, former, [near])
    await gone(admin, "acme")
    assert await usage.alert(admin, former, [near]) == set(), "who tells late tells nobody"

    present = await registered(admin, "acme")

    assert await usage.alerts(admin, present, 9) == []
    assert await usage.alert(admin, present, [near]) == {"max_runs_per_day"}
    assert await admin.fetchval("SELECT count(*) FROM insula.alert") == 1


async def test_alerts_count_until_their_window_is_over(database: Database) -> None:
    admin, now = await database.connect(), datetime.now(UTC)
    ago = {"max_runs_per_hour": (0.5, 2), "max_runs_per_day": (2, 25), "gone": (0.5,)}
    for tenant in ("acme", "globex"):
        near = [
            Near(quota, now - timedelta(hours=hours), 8, 10)
            for quota, spans in ago.items()
            for hours in spans
        ]
        await usage.alert(admin, await registered(admin, tenant), near)

    of_all = await usage.current(admin, WINDOWS)
    of_one = await usage.current(admin, WINDOWS, "acme")

    told = {
        tenant: [(each.quota, now - each.since) for each in alerts]
        for tenant, alerts in of_all.items()
    }
    hours = [("max_runs_per_day", timedelta(hours=2)), ("max_runs_per_hour", timedelta(hours=0.5))]
    assert told == {"acme": hours, "globex": hours}
    assert of_one == {"acme": of_all["acme"]}
