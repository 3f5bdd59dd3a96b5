"""The example served by a daemon of its own, with an embedded PostgreSQL, as `make demo` does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from examples.flights import reckon
from examples.flights.demo import AIRLINES, CONFIG, MONTH
from examples.flights.process import Daemon
from orchestrator import Client
from orchestrator.model.api import RunView
from orchestrator.model.errors import InvalidInput
from orchestrator.model.states import RunState, TaskState
from tests.support.server import reachable_directory

TIMEOUT = 45.0
READY = 60
"""Attempts to connect, with pauses that grow to a second."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with reachable_directory() as home:
        daemon = Daemon(CONFIG, home)
        daemon.start()
        yield daemon
        daemon.stop()


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client(daemon.url, retries=READY) as client:
        await client.status()
        yield client


async def report(client: Client, tenant: str, file: Path) -> RunView:
    run = await client.tenant(tenant).start("monthly_report", {"file": str(file)})
    return await run.result(timeout=TIMEOUT)


async def stored(client: Client, tenant: str) -> int:
    run = await client.tenant(tenant).start("stored_flights")
    view = await run.result(timeout=TIMEOUT)
    assert isinstance(view.output, int)
    return view.output


async def test_sixteen_airlines_are_tenants(client: Client) -> None:
    names = [line.split(",")[0] for line in AIRLINES.read_text().splitlines()[1:]]

    tenants = await client.tenants()

    assert sorted(alias for tenant in tenants for alias in tenant.aliases) == sorted(names)
    assert {tenant.tier for tenant in tenants} == {"basic", "standard", "premium"}


async def test_a_report_ends_in_output_and_context(client: Client) -> None:
    view = await report(client, "OO", MONTH)

    figures = reckon.by_carrier(MONTH)["OO"]
    assert view.state is RunState.SUCCEEDED
    assert view.output == figures
    assert view.context == {"file": str(MONTH), **figures}


async def test_a_truncated_file_fails_its_run_and_no_other(client: Client, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.csv.gz"
    truncated.write_bytes(MONTH.read_bytes()[:-1000])
    delta = await client.tenant("DL").start("monthly_report", {"file": str(truncated)})
    alaska = await client.tenant("AS").start("monthly_report", {"file": str(MONTH)})

    failed = await delta.result(timeout=TIMEOUT)

    assert failed.state is RunState.FAILED
    assert failed.error is not None
    assert "truncated" in failed.error.message
    states = {task.name: task.state for task in failed.tasks}
    assert states.pop("load") is TaskState.FAILED
    assert set(states.values()) == {TaskState.SKIPPED}
    assert next(task.attempt for task in failed.tasks if task.name == "load") == 1
    assert await stored(client, "DL") == 0
    assert (await alaska.result(timeout=TIMEOUT)).state is RunState.SUCCEEDED


async def test_a_tenant_registered_without_a_carrier_gets_one_clear_error(client: Client) -> None:
    await client.create_tenant("airline_zz", tier="basic")

    view = await report(client, "airline_zz", MONTH)

    assert view.error is not None
    assert view.error.message == "tenant 'airline_zz' has no carrier code in its metadata"


async def test_a_month_is_published_when_it_was_approved_and_by_whom(client: Client) -> None:
    hawaiian = client.tenant("HA")
    given = {"file": str(MONTH), "month": "2013-01"}
    run = await hawaiian.start("monthly_release", given)

    await run.signal("approved", {"by": "ann@hawaiian.example"}, key="ann")
    await run.signal("approved", {"by": "ann@hawaiian.example"}, key="ann")

    assert (await run.result(timeout=TIMEOUT)).state is RunState.SUCCEEDED
    published = await (await hawaiian.start("released")).result(timeout=TIMEOUT)
    figures = reckon.by_carrier(MONTH)["HA"]
    assert published.output == [
        {
            "month": "2013-01",
            "flights": figures["flights"],
            "cancelled": figures["cancelled"],
            "mean_dep_delay": figures["mean_dep_delay"],
            "approved_by": "ann@hawaiian.example",
        }
    ]


async def test_nothing_is_published_that_nobody_vouches_for(client: Client) -> None:
    yuma = client.tenant("YV")
    with pytest.raises(InvalidInput, match=r"month"):
        await yuma.start("monthly_release", {"file": str(MONTH), "month": "January"})
    run = await yuma.start("monthly_release", {"file": str(MONTH), "month": "2013-01"})

    await run.signal("approved", {"when": "now"})

    view = await run.result(timeout=TIMEOUT)
    assert view.error is not None
    assert "must say who approves" in view.error.message
    assert (await (await yuma.start("released")).result(timeout=TIMEOUT)).output == []


async def test_a_key_that_is_known_gives_the_run_that_is_there(client: Client) -> None:
    tenant = client.tenant("F9")
    first = await tenant.start("monthly_report", {"file": str(MONTH)}, key="january")
    await first.result(timeout=TIMEOUT)

    # More repetitions than the tenant has task slots: none may keep one.
    again = [
        await tenant.start("monthly_report", {"file": str(MONTH)}, key="january") for _ in range(5)
    ]

    assert not first.known
    assert {(run.id, run.known) for run in again} == {(first.id, True)}
    assert await stored(client, "F9") == 59


async def test_a_killed_daemon_finishes_all_that_it_had_accepted(
    daemon: Daemon, client: Client
) -> None:
    expected = reckon.by_carrier(MONTH)
    handles = {
        carrier: await client.tenant(carrier).start("monthly_report", {"file": str(MONTH)})
        for carrier in expected
    }
    daemon.kill()
    daemon.start()

    outputs = {
        carrier: (await run.result(timeout=TIMEOUT)).output for carrier, run in handles.items()
    }

    assert outputs == expected
    assert {carrier: await stored(client, carrier) for carrier in expected} == {
        carrier: figures["flights"] for carrier, figures in expected.items()
    }


async def test_the_daemon_stops_in_order(daemon: Daemon, client: Client) -> None:
    await client.status()

    assert await asyncio.to_thread(daemon.stop) == 0
