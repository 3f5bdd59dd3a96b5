"""What blocks the event loop is named while it does."""

from __future__ import annotations

import time
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from orchestrator.daemon.loop_watch import LOOK_SECONDS, LoopWatch
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.model.clock import HandClock

GIVE_UP_SECONDS = 20


def blocked(logs: list[Any]) -> list[Any]:
    """Return what was logged of a blocked loop."""
    return [each for each in logs if each["event"] == "loop.blocked"]


@pytest.mark.requirement("R5.blocking")
async def test_a_coroutine_that_blocks_the_loop_is_named_while_it_does() -> None:
    clock = HandClock()
    watch = LoopWatch(clock, Notifier(), blocked_seconds=0.02)
    with structlog.testing.capture_logs() as logs:

        async def blocks_the_loop() -> None:
            clock.advance(LOOK_SECONDS + 1)
            began = time.monotonic()
            while not blocked(logs) and time.monotonic() - began < GIVE_UP_SECONDS:
                time.sleep(0.001)  # noqa: ASYNC251 - what must not be done, and is found

        async with anyio.create_task_group() as group:
            group.start_soon(watch.run)
            await anyio.lowlevel.checkpoint()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(blocks_the_loop, name="task load of run 1 of tenant acme")
            group.cancel_scope.cancel()

    (found,) = blocked(logs)
    assert found["task"] == "task load of run 1 of tenant acme"
    assert any("blocks_the_loop" in frame for frame in found["stack"])
    assert found["seconds"] == 1.0
