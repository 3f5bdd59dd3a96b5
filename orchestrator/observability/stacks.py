"""Where everything in this process stands: the stack of each task and of each thread."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any


def of_tasks() -> Iterator[tuple[asyncio.Task[Any], list[str]]]:
    """Yield each task of the running loop by name, and its frames, outermost first."""
    for task in sorted(asyncio.all_tasks(), key=lambda each: each.get_name()):
        yield task, list(_awaited(task.get_coro()))


def of_threads() -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each other thread, and its frames, outermost first."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and (stack := of_thread(thread.ident or 0)):
            yield thread.name, stack


def of_thread(ident: int) -> list[str]:
    """Return the frames of another thread, outermost first; none when it has ended."""
    frame = sys._current_frames().get(ident)  # noqa: SLF001 - documented; there is no other way
    if frame is None:
        return []
    return [_place(each.f_code, line) for each, line in traceback.walk_stack(frame)][::-1]


def _awaited(awaitable: Any) -> Iterator[str]:
    """Follow what waits for what: coroutines and generators, down to what is none of these."""
    while awaitable is not None:
        frame: FrameType | None = getattr(awaitable, "cr_frame", None)
        frame = (
            frame or getattr(awaitable, "ag_frame", None) or getattr(awaitable, "gi_frame", None)
        )
        if frame is not None:
            yield _place(frame.f_code, frame.f_lineno)
        inner = getattr(awaitable, "cr_await", None) or getattr(awaitable, "ag_await", None)
        awaitable = inner or getattr(awaitable, "gi_yieldfrom", None)


def _place(code: CodeType, line: int | None) -> str:
    return f"{code.co_filename}:{line} {code.co_qualname}"
