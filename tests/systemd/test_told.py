"""What systemd hears of a daemon, from a start without a database to the end of its drain."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.process import Daemon, NotifySocket, daemon, hold
from tests.support.database import Database
from tests.support.proxy import CuttingProxy
from tests.support.wait import until

BASE_TIMEOUT = 60_000_000
"""TimeoutStartSec= of the unit, in microseconds."""

WATCHDOG = 0.1
TENANTS = ("acme", "globex")


@pytest.fixture
def notify(state_dir: Path) -> Iterator[NotifySocket]:
    """Yield a socket as systemd makes it."""
    listening = NotifySocket(str(state_dir / "notify"))
    yield listening
    listening.close()


async def test_systemd_is_told_of_every_step(
    database: Database, state_dir: Path, notify: NotifySocket
) -> None:
    environ = {
        "NOTIFY_SOCKET": notify.address,
        "WATCHDOG_USEC": f"{WATCHDOG * 1_000_000:.0f}",
    }
    proxy = CuttingProxy(database.target)
    async with proxy.running(), daemon(state_dir, **environ) as served:
        served.configure(TENANTS, database=database, url=proxy.target.url)
        await starts_when_the_database_is_there(served, proxy, notify)
        await children_do_not_speak_for_it(served)
        await a_reload_is_bracketed_also_when_it_is_refused(served, notify)
        await who_was_stopped_gives_signs_of_life_again(served, notify)
        await the_end_is_told_as_far_as_it_has_come(served, notify, state_dir)


async def starts_when_the_database_is_there(
    served: Daemon, proxy: CuttingProxy, notify: NotifySocket
) -> None:
    proxy.absent = True
    await served.start(ready=False)
    waiting = await until(lambda: first_status(notify, "waiting for the database: "), within=20)
    # The first word comes before the base timeout: before anything that may last.
    assert waiting is not None
    first = notify.read()[0]
    assert first["STATUS"].startswith("connecting to postgresql://")
    assert int(first["EXTEND_TIMEOUT_USEC"]) > BASE_TIMEOUT
    assert int(waiting["EXTEND_TIMEOUT_USEC"]) > BASE_TIMEOUT
    assert not notify.has("READY")
    assert served.events("database.awaited")
    proxy.absent = False
    (ready,) = await until(lambda: notify.has("READY"), within=20)
    assert ready["STATUS"] == "serving 2 tenants"
    await until(lambda: len(notify.has("WATCHDOG", "1")) >= 3)


async def children_do_not_speak_for_it(served: Daemon) -> None:
    async with served.client() as client:
        runs = [
            await client.tenant(tenant).start(workflow, {})
            for tenant, workflow in zip(TENANTS, ("spawn", "apart"), strict=True)
        ]
        assert [(await run.result(timeout=20)).output for run in runs] == ["none", "none"]


async def a_reload_is_bracketed_also_when_it_is_refused(
    served: Daemon, notify: NotifySocket
) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    served.send(signal.SIGHUP)
    (reloading,) = await until(lambda: notify.has("RELOADING"))
    assert int(reloading["MONOTONIC_USEC"]) >= before
    await until(lambda: notify.has("STATUS", "reloaded generation 2: +0 ~0 -0 tenants"))
    served.config.write_text("[tenants.x", encoding="utf-8")
    served.send(signal.SIGHUP)
    await until(lambda: notify.has("STATUS", "reload REFUSED, still serving generation 2"))
    order = [m for m in notify.read() if "READY" in m or "RELOADING" in m]
    assert ["READY" in m for m in order] == [True, False, True, False, True]


async def who_was_stopped_gives_signs_of_life_again(served: Daemon, notify: NotifySocket) -> None:
    served.send(signal.SIGSTOP)
    await until(lambda: is_stopped(served))
    signs = len(notify.has("WATCHDOG"))
    served.send(signal.SIGCONT)
    await until(lambda: len(notify.has("WATCHDOG")) > signs)


async def the_end_is_told_as_far_as_it_has_come(
    served: Daemon, notify: NotifySocket, directory: Path
) -> None:
    async with served.client() as client:
        _, leave = await hold(client, directory)
    served.send(signal.SIGTERM)
    one = await until(lambda: notify.has("STATUS", "draining 1/2"))
    leave.touch()
    assert await served.end() == 0
    (stopping,) = notify.has("STOPPING")
    end = notify.read()[notify.read().index(stopping) :]
    assert int(stopping["EXTEND_TIMEOUT_USEC"]) > 30_000_000
    # No more time than one asked for with what had been achieved.
    steps = [m["STATUS"] for m in end if "EXTEND_TIMEOUT_USEC" in m]
    assert steps == ["draining", "draining 1/2", "draining 2/2"]
    assert int(one[0]["EXTEND_TIMEOUT_USEC"]) > 0
    assert not [m for m in end if "READY" in m]


def first_status(notify: NotifySocket, words: str) -> dict[str, str] | None:
    """Return the first message whose status begins so."""
    found = (m for m in notify.read() if m.get("STATUS", "").startswith(words))
    return next(found, None)


def is_stopped(served: Daemon) -> bool:
    """Return whether the process stands still."""
    fields = Path(f"/proc/{served.process.pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "T"
