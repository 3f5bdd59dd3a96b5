"""Follows one run to its end, with a live line on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from orchestrator.cli import output
from orchestrator.client import calls
from orchestrator.model.api import RunView
from orchestrator.model.errors import DaemonUnreachable
from orchestrator.model.states import TaskState

if TYPE_CHECKING:
    from orchestrator.client.sync import SyncClient

LOOK = 1.0
"""Seconds of one long poll: how old the live line may be."""

PATIENCE = 60.0
"""Seconds in which a daemon that went away may come back; its runs lose nothing by that."""


def follow(client: SyncClient, tenant: str, run: UUID) -> RunView:
    """Return the run when it has finished; a daemon that restarts meanwhile is waited for."""
    begin = time.monotonic()
    try:
        with _live_line() as show:
            while True:
                view = _look(client, tenant, run)
                if view.state.finished:
                    return view
                show(_progress(view, timedelta(seconds=time.monotonic() - begin)))
    except KeyboardInterrupt:
        output.say(f"the run goes on: insula run show {tenant} {run}")
        raise


def _look(client: SyncClient, tenant: str, run: UUID) -> RunView:
    try:
        return client.send(calls.show_run(tenant, run, wait=LOOK, patience=0))
    except DaemonUnreachable:
        output.say("the daemon does not answer; waiting for it to come back")
    return client.send(calls.show_run(tenant, run, wait=LOOK, patience=PATIENCE))


def _progress(view: RunView, elapsed: timedelta) -> str:
    settled = sum(task.state.settled for task in view.tasks)
    running = [task.name for task in view.tasks if task.state is TaskState.RUNNING]
    doing = f" ({', '.join(running)})" if running else ""
    tasks = f"tasks {settled}/{len(view.tasks)}{doing}"
    return f"{view.workflow} {view.state}: {tasks}, {output.line(elapsed)}"


@contextmanager
def _live_line() -> Iterator[Callable[[str], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs what draws
    from rich.markup import escape  # noqa: PLC0415

    with Console(stderr=True).status("waiting for the run") as line:
        yield lambda text: line.update(escape(output.line(text)))
