"""The tasks of the monthly report, each tenant under its own application login."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from examples.flights import reckon
from examples.flights.workflows import (
    cancellations,
    delays,
    load,
    report,
    routes,
    stored_flights,
    summary,
)
from orchestrator import Context, Fail
from orchestrator.store.migrate import read_migrations
from orchestrator.store.tenant.database import TenantDatabase
from orchestrator.store.tenant.fence import Fence
from orchestrator.store.tenant.login import Way
from orchestrator.store.tenant.places import Places
from orchestrator.store.tenant.session import Session
from orchestrator.workflow.context import TenantInfo
from tests.support.database import Database

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
JANUARY = EXAMPLE / "data" / "flights-2013-01.csv.gz"

# flights, cancelled, mean departure delay, worst
FIGURES = {
    "UA": (4637, 32, 8.3262, 385),
    "B6": (4427, 9, 9.4934, 502),
    "EV": (4171, 182, 24.2289, 379),
    "DL": (3690, 29, 3.8498, 599),
    "AA": (2794, 59, 6.9324, 337),
    "MQ": (2271, 65, 6.4855, 1126),
    "US": (1602, 47, 1.8174, 336),
    "9E": (1573, 75, 16.8825, 360),
    "WN": (996, 11, 9.1371, 259),
    "FL": (328, 4, 1.9722, 210),
    "VX": (316, 1, 1.0635, 246),
    "AS": (62, 0, 7.3548, 222),
    "F9": (59, 0, 10.0, 248),
    "YV": (46, 7, 15.8462, 238),
    "HA": (31, 0, 54.3871, 1301),
    "OO": (1, 0, 67.0, 67),
}


class Airline:
    """One tenant's access to its tables, and its tasks in the order of the engine."""

    def __init__(self, carrier: str, database: Session) -> None:
        self.carrier = carrier
        self.database = database

    def context(self, **outputs: Any) -> Context:
        tenant = TenantInfo(id=f"airline_{self.carrier}", metadata={"carrier": self.carrier})
        return Context(tenant=tenant, database=self.database, outputs=outputs)

    async def load(self, file: Path) -> dict[str, Any]:
        loaded: dict[str, Any] = await load(self.context(), str(file))
        return loaded

    async def report(self, file: Path) -> dict[str, Any]:
        loaded = await self.load(file)
        late, gone, busiest = await asyncio.gather(
            delays(self.context(load=loaded)),
            cancellations(self.context(load=loaded)),
            routes(self.context(load=loaded)),
        )
        return summary(self.context(delays=late, cancellations=gone, routes=busiest))

    async def stored(self) -> int:
        counted: int = await stored_flights(self.context())
        return counted


Make = Callable[[str], Awaitable[Airline]]


@pytest.fixture
async def airline(database: Database) -> AsyncIterator[Make]:
    """Yield what makes a provisioned tenant of a carrier."""
    async with AsyncExitStack() as stack:

        async def make(carrier: str) -> Airline:
            tenant = f"airline_{carrier.lower()}"
            await database.provision(tenant, read_migrations(EXAMPLE / "migrations"))
            access = TenantDatabase(
                Way(database.as_app(tenant)),
                application_name="insula test",
                places=Places(4),
                fence=Fence(f"tenant_{tenant}", epoch=0),
            )
            stack.push_async_callback(access.close)
            return Airline(carrier, Session(access, "test"))

        yield make


def month(path: Path, change: Callable[[str], str], *, lines: int | None = None) -> Path:
    """Write January, or its first lines, with every line but the header changed."""
    with gzip.open(JANUARY, "rt", encoding="utf-8") as january:
        header, *rows = january.readlines()
    changed = [header, *(change(row) for row in rows[:lines])]
    path.write_bytes(gzip.compress("".join(changed).encode(), compresslevel=1))
    return path


def february(row: str) -> str:
    return row.replace("2013,1,", "2013,2,", 1)


@pytest.mark.slow
async def test_sixteen_airlines_report_their_january(airline: Make) -> None:
    reports = {carrier: await (await airline(carrier)).report(JANUARY) for carrier in FIGURES}

    assert {carrier: tuple(report.values())[:4] for carrier, report in reports.items()} == FIGURES
    assert reports == reckon.by_carrier(JANUARY)


async def test_loading_a_month_again_changes_nothing(airline: Make) -> None:
    hawaiian = await airline("HA")
    first = await hawaiian.report(JANUARY)

    again = await hawaiian.load(JANUARY)

    assert (again["found"], again["added"]) == (31, 0)
    assert await hawaiian.report(JANUARY) == first
    assert await hawaiian.stored() == 31


async def test_two_loads_at_once_add_a_month_once(airline: Make) -> None:
    southwest = await airline("WN")

    loads = await asyncio.gather(*(southwest.load(JANUARY) for _ in range(3)))

    assert sorted(loaded["added"] for loaded in loads) == [0, 0, 996]
    assert await southwest.stored() == 996


async def test_a_report_is_about_the_month_of_its_file_alone(airline: Make, tmp_path: Path) -> None:
    other = month(tmp_path / "february.csv.gz", february, lines=9_000)
    virgin = await airline("VX")
    january = await virgin.report(JANUARY)

    report = await virgin.report(other)

    assert report == reckon.by_carrier(other)["VX"]
    assert report["flights"] < january["flights"]
    assert await virgin.report(JANUARY) == january


async def test_an_airline_without_flights_reports_none(airline: Make) -> None:
    nobody = await airline("ZZ")

    assert await nobody.report(JANUARY) == {
        "flights": 0,
        "cancelled": 0,
        "mean_dep_delay": None,
        "worst_delay": None,
        "busiest_route": None,
    }


async def test_an_airline_whose_flights_all_stayed_has_no_delay(
    airline: Make, tmp_path: Path
) -> None:
    def cancelled(row: str) -> str:
        values = row.split(",")
        values[5] = "NA"
        return ",".join(values)

    figures = await (await airline("HA")).report(month(tmp_path / "x.csv.gz", cancelled))

    assert (figures["flights"], figures["cancelled"]) == (31, 31)
    assert figures["mean_dep_delay"] is None
    assert figures["worst_delay"] is None


async def test_the_first_of_equally_busy_routes_by_the_alphabet_wins(
    airline: Make, tmp_path: Path
) -> None:
    rows = iter(["LGA,BOS", "EWR,ORD", "EWR,BOS", "JFK,ATL"])

    def elsewhere(row: str) -> str:
        values = row.split(",")
        values[12:14] = next(rows).split(",")
        values[9] = "UA"
        return ",".join(values)

    four = month(tmp_path / "four.csv.gz", elsewhere, lines=4)

    assert (await (await airline("UA")).report(four))["busiest_route"] == "EWR-BOS"


async def test_a_truncated_file_leaves_nothing_behind(airline: Make, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.csv.gz"
    truncated.write_bytes(JANUARY.read_bytes()[:-1000])
    united = await airline("UA")

    with pytest.raises(Fail, match="truncated"):
        await united.load(truncated)

    assert await united.stored() == 0
    assert (await united.report(JANUARY))["flights"] == 4637


async def test_a_bad_line_late_in_the_file_leaves_nothing_behind(
    airline: Make, tmp_path: Path
) -> None:
    rows = iter(range(2, 30_000))

    def spoiled(row: str) -> str:
        return row.replace(",2013-", ",late,2013-") if next(rows) == 20_000 else row

    united = await airline("UA")

    with pytest.raises(Fail, match="line 20000: 20 values, the header names 19 columns"):
        await united.load(month(tmp_path / "x.csv.gz", spoiled))

    assert await united.stored() == 0


async def test_a_tenant_without_a_carrier_fails_for_good(airline: Make) -> None:
    nameless = await airline("UA")
    ctx = Context(tenant=TenantInfo(id="nameless"), database=nameless.database)

    with pytest.raises(Fail, match="'nameless' has no carrier code"):
        await load(ctx, str(JANUARY))


async def test_the_event_loop_turns_while_a_file_is_read(airline: Make) -> None:
    united = await airline("UA")
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    await united.load(JANUARY)
    other.cancel()

    # A loop that only turned while it waited for the database would turn some forty times.
    assert turns > 500


def test_summary_puts_every_figure_into_the_context() -> None:
    ctx = Context(
        outputs={
            "delays": {"mean": 1.5, "worst": 9},
            "cancellations": {"flights": 3, "cancelled": 1},
            "routes": "EWR-IAH",
        }
    )

    figures = summary(ctx)

    assert ctx.changes == figures
    assert figures["busiest_route"] == "EWR-IAH"


def test_three_reports_run_side_by_side() -> None:
    assert report.graph.upstream == {
        "load": (),
        "delays": ("load",),
        "cancellations": ("load",),
        "routes": ("load",),
        "summary": ("delays", "cancellations", "routes"),
    }
