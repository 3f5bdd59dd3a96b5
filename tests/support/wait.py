"""Waiting for a condition with a deadline, in place of sleeping."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

import anyio

T = TypeVar("T")


@overload
async def until(
    condition: Callable[[], Awaitable[T]], *, within: float = 10.0, what: str = ""
) -> T: ...
@overload
async def until(condition: Callable[[], T], *, within: float = 10.0, what: str = "") -> T: ...
async def until(
    condition: Callable[[], T | Awaitable[T]], *, within: float = 10.0, what: str = ""
) -> T:
    """Return the first true answer of `condition`, which may be a coroutine function.

    >>> await until(lambda: server.pid is None)
    """
    deadline = anyio.current_time() + within
    while True:
        answer = condition()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        if anyio.current_time() > deadline:
            raise AssertionError(f"not within {within} s: {what or condition}")
        await anyio.sleep(0.01)
