"""The daemon's event loop, which the code of a task can not end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog
import uvloop

log = structlog.get_logger(__name__)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end on an event loop of its own; raise what it raises.

    SystemExit and KeyboardInterrupt in any asyncio task stop the loop, besides reaching whoever
    awaits that task; so does `loop.stop()`. A task of a workflow may have asyncio tasks of its own
    (`asyncio.gather`, a task group), and its `sys.exit()` there is a failure of that attempt alone.
    A stopped loop has lost nothing, so it goes on. Ctrl-C is no KeyboardInterrupt here: it is a
    signal that `signals.obey` takes.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        task.add_done_callback(lambda _: loop.stop())
        while not task.done():
            error: BaseException | None = None
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as raised:
                error = raised
            if not task.done():
                log.warning("loop.stop_refused", error=repr(error), exc_info=error)
        task.result()
