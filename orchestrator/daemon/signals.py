"""Signals as calls.

HUP reloads, TERM and INT drain and a second one stops at once, USR1 writes what runs.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

import anyio
import structlog

log = structlog.get_logger(__name__)


class Hangups:
    """Counts the SIGHUPs that come before `obey` listens: each would end the process.

    A function and not SIG_IGN, which the programs that we start would inherit.
    """

    def __init__(self) -> None:
        self.count = 0
        signal.signal(signal.SIGHUP, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


async def obey(
    *,
    reload: Callable[[], None],
    drain: Callable[[], None],
    stop: Callable[[], None],
    dump: Callable[[], None],
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Call what each signal stands for, until cancelled. None of the calls may wait."""
    draining = False
    watched = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    with anyio.open_signal_receiver(*watched) as received:
        task_status.started()
        async for number in received:
            log.info("signal.received", signal=number.name)
            if number is signal.SIGHUP:
                reload()
            elif number is signal.SIGUSR1:
                dump()
            elif draining:
                stop()
            else:
                draining = True
                drain()
