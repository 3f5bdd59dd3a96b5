"""Whoever keeps the event loop from turning is named, while it does and afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from orchestrator.daemon.loop_watch import BLOCKED_SECONDS, LoopWatch
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.model.clock import SystemClock
from orchestrator.model.ids import TenantId
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.registry import Registry
from supervisors.slot import Slot
from tests.daemon.process import NotifySocket
from tests.supervisors.nodes import running_node, snapshot
from tests.support.database import Database
from tests.support.wait import until


class Log:
    """What was logged in the present test; the job below reads it as well."""

    lines: Sequence[Mapping[str, Any]] = ()

    def said(self, event: str, **values: str) -> list[Mapping[str, Any]]:
        """Return the lines of one event that have these values."""
        return [
            line for line in self.lines if line["event"] == event and values.items() <= line.items()
        ]


LOG = Log()


@pytest.fixture(autouse=True)
def _logged() -> Iterator[None]:
    """Take note of what is logged."""
    with capture_logs() as lines:
        LOG.lines = lines
        yield


@job("hog")
async def hog(ctx: Context) -> None:
    """Keep the event loop from turning until somebody says so: a thread, who else."""
    patience = time.monotonic() + 10
    while not LOG.said("loop.blocked", task="hog") and time.monotonic() < patience:
        time.sleep(0.01)  # noqa: ASYNC251 - what the watch is for


@asynccontextmanager
async def watching(slots: Mapping[TenantId, Slot]) -> AsyncIterator[LoopWatch]:
    """Watch the loop of this test."""
    watch = LoopWatch(SystemClock(), Notifier(), slots)
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run)
        yield watch
        group.cancel_scope.cancel()


@pytest.mark.requirement("R5.blocking")
async def test_a_coroutine_that_blocks_is_named_while_it_does(database: Database) -> None:
    registry = Registry.of([hog])
    async with (
        running_node(database, snapshot(["acme", "globex"]), registry=registry) as node,
        watching(node.root.slots) as watch,
    ):
        run = await node.submit("acme", "hog")
        await node.until_finished("acme", 1)
        who = {"tenant": "acme", "run": str(run.id), "task": "hog"}
        (line,) = LOG.said("loop.blocked", **who)
        assert any("test_loop_watch.py" in frame and "hog" in frame for frame in line["stack"])
        (end,) = LOG.said("loop.unblocked", **who)
        assert watch.last is not None
        assert (watch.last.tenant, watch.last.run, watch.last.task) == ("acme", run.id, "hog")
        assert watch.last.milliseconds == end["milliseconds"]


async def test_a_loop_that_does_not_turn_gives_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = NotifySocket(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", listening.address)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    async with watching({}) as watch:
        await until(lambda: listening.has("WATCHDOG"))
        signs = len(listening.has("WATCHDOG"))
        time.sleep(2 * BLOCKED_SECONDS)  # noqa: ASYNC251 - what the watch is for
        assert len(listening.has("WATCHDOG")) == signs
        await until(lambda: len(listening.has("WATCHDOG")) > signs)
        # No attempt did it, but the place is known.
        assert "tenant" not in LOG.said("loop.blocked")[-1]
        assert watch.last is not None
        assert watch.last.milliseconds >= BLOCKED_SECONDS * 1000
        assert "test_loop_watch.py" in str(watch.last.where)
    listening.close()
