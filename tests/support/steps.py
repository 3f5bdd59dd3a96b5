"""Acts at a chosen moment of asynchronous code: when it waits for the k-th time.

    with stepping(Steps(at=3, act=scope.cancel)):
        await watched(live())

Tasks that the code starts are watched as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def _always() -> bool:
    return True


@dataclass
class Steps:
    """Counts the waits for which `when` holds, and calls `act` within the one of number `at`."""

    at: int
    act: Callable[[], object]
    when: Callable[[], bool] = _always
    seen: int = 0

    def passed(self) -> None:
        """Note that somebody is about to wait."""
        if self.when():
            self.seen += 1
            if self.seen == self.at:
                self.act()

    @property
    def acted(self) -> bool:
        """True when there were so many waits."""
        return self.seen >= self.at


_STEPS: ContextVar[Steps | None] = ContextVar("steps", default=None)


class _Watched:
    """Awaits a coroutine, and tells `steps` of every wait in it."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], steps: Steps) -> None:
        self._coroutine = coroutine
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, Any]:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                if error is None:
                    waited = self._coroutine.send(value)
                else:
                    waited = self._coroutine.throw(error)
            except StopIteration as end:
                return end.value
            self._steps.passed()
            try:
                value, error = (yield waited), None
            except BaseException as thrown:  # noqa: BLE001 - handed on to where it was meant for
                error = thrown


async def watched(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what `coroutine` returns; its waits count."""
    steps = _STEPS.get()
    assert steps is not None, "within stepping() only"
    found: T = await _Watched(coroutine, steps)
    return found


@contextmanager
def stepping(steps: Steps) -> Iterator[None]:
    """Watch the tasks that are started in the body, and those that they start."""
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()

    def start(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        found = coroutine if _STEPS.get() is None else watched(coroutine)
        return asyncio.Task(found, loop=loop, **options)

    loop.set_task_factory(start)  # type: ignore[arg-type]
    token = _STEPS.set(steps)
    try:
        yield
    finally:
        _STEPS.reset(token)
        loop.set_task_factory(before)
