"""The attempts under way: each in a task and a cancel scope of its own, none outlives the group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import anyio

from orchestrator.engine.execution import Execution
from orchestrator.model.errors import DatabaseUnavailable, LeaseLost
from orchestrator.model.states import TaskState

_STOPS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)
NOT_OURS = (*_STOPS, LeaseLost, DatabaseUnavailable)
"""Ends of an attempt that say nothing of it.

The last two end the engine: how a commit of the task's own came out is for the next owner to read.
"""

Body = Callable[[Execution, str, anyio.CancelScope], Coroutine[Any, Any, None]]
"""Runs one attempt at a task of a run within the scope, which it enters and `leave`s."""


class AttemptGroup:
    """Starts attempts and cuts them off.

    Plain tasks of the event loop: one of an anyio group costs three times as much, which would be
    the greatest part of a step, and a callback at its end half as much again. `run` gives them what
    a group would: it ends when all have, and raises what they did.
    """

    def __init__(self) -> None:
        self._tasks: dict[anyio.CancelScope, tuple[asyncio.Task[None], Execution, str]] = {}
        self._scopes: dict[tuple[Execution, str], anyio.CancelScope] = {}
        self._errors: list[BaseException] = []
        self._broken = anyio.Event()
        self._over = False
        self._new_scope: type[anyio.CancelScope] = anyio.CancelScope

    def start(self, body: Body, execution: Execution, name: str) -> None:
        """Begin an attempt at task `name`, unless all are being cut off."""
        if self._over:
            return
        scope = self._scopes[execution, name] = self._new_scope()
        # The event loop's own kind: to look for it each time is a third of what a scope costs.
        self._new_scope = type(scope)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._attend(body, execution, name, scope), name=f"task {name}")
        self._tasks[scope] = task, execution, name

    def leave(self, execution: Execution, name: str, scope: anyio.CancelScope) -> None:
        """Let the scope of an attempt go; by then the next attempt may have begun."""
        if self._scopes.get((execution, name)) is scope:
            del self._scopes[execution, name]

    def cut_off(self, execution: Execution, *names: str) -> None:
        """Cancel the attempts under way at these tasks of a run, without names at all of them."""
        for name in names or execution.tasks:
            scope = self._scopes.get((execution, name))
            if scope is not None:
                scope.cancel()

    async def run(self) -> None:
        """Wait until cancelled, or until an attempt raises; cut all off and raise what they did."""
        try:
            await self._broken.wait()
        finally:
            self._over = True
            for scope in self._tasks:
                scope.cancel()
            with anyio.CancelScope(shield=True):
                # One that was cancelled before it began has ended without a word.
                while left := [task for task, _, _ in self._tasks.values() if not task.done()]:
                    await asyncio.wait(left)
            if self._errors:
                raise BaseExceptionGroup("attempts that can not go on", self._errors)

    def attempt_of(self, task: asyncio.Task[Any]) -> tuple[UUID, str] | None:
        """Return the run and the name of the task whose attempt `task` runs; from any thread."""
        under_way = list(self._tasks.values())
        places = ((execution.id, name) for each, execution, name in under_way if each is task)
        return next(places, None)

    async def _attend(
        self, body: Body, execution: Execution, name: str, scope: anyio.CancelScope
    ) -> None:
        try:
            await body(execution, name, scope)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            self._errors.append(error)
            self._broken.set()
            if isinstance(error, SystemExit | KeyboardInterrupt):
                raise  # they end the event loop; the others are raised by `run`
        finally:
            del self._tasks[scope]


def is_under_way(execution: Execution, name: str) -> bool:
    """Tell whether what comes of an attempt counts: the run can move, the task is not settled."""
    task = execution.tasks[name]
    return execution.held and not execution.state.over and task.state is TaskState.RUNNING
