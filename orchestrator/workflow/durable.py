"""What a task can do durably: calls of `Context` that survive a crash, and what answers them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

import msgspec

from orchestrator.model.errors import InsulaError

OnClose = Literal["cancel", "abandon"]
"""What becomes of a child whose parent ends first."""


class Child(msgspec.Struct, frozen=True):
    """A run that a task has started; give it to `ctx.wait`."""

    id: UUID
    workflow: str


class ChildFailed(Exception):
    """Raised by `ctx.wait`: the child did not succeed. `state` says how it ended."""

    def __init__(self, child: UUID, state: str, message: str) -> None:
        super().__init__(f"child run {child} is {state}: {message}")
        self.child = child
        self.state = state


class AttemptOver(Exception):
    """A call of the context was made after the attempt had ended."""


class OtherLoop(Exception):
    """A call of the context was awaited on another event loop than its task's (`asyncio.run`)."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: awaited on another event loop than the task's; "
            "from a thread: anyio.from_thread.run(ctx.step, …)"
        )


class NoEngine(InsulaError):
    """The call needs an engine, and the context was made without one."""

    code = "no_engine"


class ChildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A run to start: as `StartRun`, and what becomes of it when its parent ends first."""

    workflow: str
    input: dict[str, Any]
    queue: str | None = None
    priority: int = 0
    on_close: OnClose = "cancel"


class Durability(Protocol):
    """Answers the durable calls of one attempt."""

    async def step(self, name: str, function: Callable[..., Any], args: Sequence[Any]) -> Any:
        """Call once; remember what it returned."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Return when the time has passed."""
        ...

    async def wait_signal(self, name: str, within: timedelta | None) -> Any:
        """Return the payload of the next signal of that name; TimeoutError when none came."""
        ...

    async def start_child(self, request: ChildRequest) -> Child:
        """Start a run of this tenant's."""
        ...

    async def wait(self, child: Child) -> Any:
        """Return the output of a child; ChildFailed when it did not succeed."""
        ...

    async def map(
        self, name: str, function: Callable[[Any], Any], items: Sequence[Any], concurrency: int
    ) -> list[Any]:
        """Call once for each item; remember each result."""
        ...

    def close(self) -> None:
        """Refuse every further call: the attempt is over."""
        ...


class Inline:
    """For plain unit tests: makes the calls, remembers nothing, and sleeps no time at all.

    Arguments that it has no use for keep the names of the protocol (ARG002).
    """

    async def step(
        self,
        name: str,  # noqa: ARG002
        function: Callable[..., Any],
        args: Sequence[Any],
    ) -> Any:
        """Call."""
        return await _awaited(function(*args))

    async def sleep(self, span: timedelta) -> None:
        """Return at once."""

    async def wait_signal(self, name: str, within: timedelta | None) -> Any:  # noqa: ARG002
        """Raise NoEngine: there is nobody to send one."""
        raise NoEngine(f"nobody can send signal {name!r} to a context without an engine")

    async def start_child(self, request: ChildRequest) -> Child:
        """Raise NoEngine."""
        raise NoEngine(f"a context without an engine can not start {request.workflow!r}")

    async def wait(self, child: Child) -> Any:  # noqa: ARG002
        """Raise NoEngine."""
        raise NoEngine("a context without an engine has no children")

    async def map(
        self,
        name: str,  # noqa: ARG002
        function: Callable[[Any], Any],
        items: Sequence[Any],
        concurrency: int,  # noqa: ARG002
    ) -> list[Any]:
        """Call for one item after the other."""
        return [await _awaited(function(item)) for item in items]

    def close(self) -> None:
        """Do nothing."""


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
