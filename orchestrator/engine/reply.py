"""An answer that is owed: set once by whoever handles the request, awaited by whoever asked."""

from __future__ import annotations

from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Reply(Generic[T]):
    """Holds a value or an error for one waiter; the first one set wins."""

    __slots__ = ("__weakref__", "_done", "_error", "_value")

    def __init__(self) -> None:
        self._done = anyio.Event()
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def settled(self) -> bool:
        """True once a value or an error is there, or nobody wants one."""
        return self._done.is_set()

    def answer(self, value: T) -> None:
        """Give the value."""
        if not self.settled:
            self._value = value
            self._done.set()

    def fail(self, error: BaseException) -> None:
        """Give an error, raised by `wait`."""
        if not self.settled:
            self._error = error
            self._done.set()

    def give_up(self) -> None:
        """Say that nobody waits: who has not begun with the request need not begin."""
        self._done.set()

    async def wait(self) -> T:
        """Return the value or raise the error, once there is one."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # answer() has set it
