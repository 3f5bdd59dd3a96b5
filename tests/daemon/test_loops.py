"""What a daemon does by itself for as long as it serves, in this process."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from litestar import Litestar
from structlog.testing import capture_logs

from orchestrator.daemon import figures
from orchestrator.daemon.loop_watch import BLOCKED_SECONDS
from orchestrator.daemon.main import Daemon
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.daemon.signals import Hangups
from orchestrator.http.serve import bind_unix
from orchestrator.settings.load import load
from orchestrator.store.embedded import StateLock
from orchestrator.workflow import registry
from tests.daemon import process
from tests.support.database import Database
from tests.support.wait import until


@pytest.fixture
def hangups() -> Iterator[Hangups]:
    """Return what counts SIGHUPs, for as long as a test lasts."""
    before = signal.getsignal(signal.SIGHUP)
    yield Hangups()
    signal.signal(signal.SIGHUP, before)


async def test_figures_that_are_due_are_read_while_it_serves(
    database: Database, tmp_path: Path, hangups: Hangups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "LOOK_SECONDS", 0.0)
    await database.provision("acme")
    admin, made = await database.connect(), process.Daemon(tmp_path)
    made.configure([], database=database)
    snapshot = load(made.config, made.variables())

    async def is_read() -> bool:
        found: bool = await admin.fetchval(
            "SELECT read_at IS NOT NULL AND tables > 0 FROM insula.figures WHERE tenant = 'acme'"
        )
        return found

    assert not await is_read()
    socket = tmp_path / "run" / "s"
    with StateLock(snapshot.state_dir), bind_unix(socket) as control, capture_logs():
        daemon = Daemon(snapshot, registry.load([]), [control], None, Notifier(), hangups)
        async with anyio.create_task_group() as group:
            group.start_soon(daemon.run)
            await until(is_read, what="the figures of acme")
            group.cancel_scope.cancel()


async def test_what_holds_up_the_loop_before_anybody_is_served_is_not_told_as_a_block(
    database: Database, tmp_path: Path, hangups: Hangups, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Litestar.__init__

    def slowly(self: Litestar, *args: Any, **named: Any) -> None:
        time.sleep(2 * BLOCKED_SECONDS)
        begin(self, *args, **named)

    monkeypatch.setattr(Litestar, "__init__", slowly)
    made = process.Daemon(tmp_path)
    made.configure([], database=database)
    snapshot = load(made.config, made.variables())
    with StateLock(snapshot.state_dir), bind_unix(tmp_path / "run" / "s") as control:
        daemon = Daemon(snapshot, registry.load([]), [control], None, Notifier(), hangups)
        with capture_logs() as logs:
            async with anyio.create_task_group() as group:
                group.start_soon(daemon.run)
                await until(lambda: daemon.ready)
                group.cancel_scope.cancel()

    blocks = [each for each in logs if each["event"] == "loop.blocked"]
    assert "slowly" not in str(blocks)
