"""Answers a long operation: with its result at its end, or line by line how far it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from orchestrator.http.errors import problem_of
from orchestrator.model.errors import ShuttingDown
from orchestrator.model.progress import NDJSON, Progress, Report, unheard

T = TypeVar("T")

JSON = "application/json"
KEEP_ALIVE = 10.0
"""Seconds of silence after which the last line is said again: both ends are there."""


async def answer(
    request: Request[Any, Any, Any], operation: Callable[[Report], Awaitable[T]]
) -> Response[Any]:
    """Run `operation`, and answer as the caller wants it (see `NDJSON`).

    What fails before its first report is answered as if nobody had asked for reports. An operation
    goes on to its end also when its caller goes away.
    """
    if request.accept.best_match([JSON, NDJSON]) != NDJSON:
        return Response(await operation(unheard))
    told = _Told(operation)
    background: TaskGroup = request.app.state.background
    background.start_soon(told.run)
    if await told.is_over_at_once():
        return Response(told.result())
    return Stream(told.lines(request), media_type=NDJSON)


def described(shape: type[Any], description: str) -> ResponseSpec:
    """Return the answer of a route that reports, for its `responses`."""
    text = f"{description}; with `Accept: {NDJSON}` lines of progress, the last with the result"
    return ResponseSpec(shape, generate_examples=False, description=text)


class _Told(Generic[T]):
    """An operation, and the last thing that it reported."""

    def __init__(self, operation: Callable[[Report], Awaitable[T]]) -> None:
        self._operation = operation
        self._news = anyio.Event()
        self._last: Progress | None = None
        self._over = False
        self._results: list[T] = []
        self._error: Exception = ShuttingDown("the daemon stopped in the middle of it")

    async def run(self) -> None:
        """Do the operation; what it raises is for the one who asked."""
        try:
            self._results.append(await self._operation(self._report))
        except Exception as error:  # noqa: BLE001 - told as every error of a route is
            self._error = error
        finally:
            self._over = True
            self._news.set()

    def _report(self, progress: Progress) -> None:
        self._last = progress
        self._news.set()

    async def is_over_at_once(self) -> bool:
        """Return whether the operation has ended without a report, once either has come."""
        await self._news.wait()
        return self._last is None

    def result(self) -> T:
        """Return what came of the operation, or raise that."""
        for result in self._results:
            return result
        raise self._error

    async def lines(self, request: Request[Any, Any, Any]) -> AsyncIterator[bytes]:
        """Yield each report that the caller has the time to take, and what came of it all."""
        told = None
        while told is not self._last or not self._over:
            self._news, told = anyio.Event(), self._last
            yield _line(progress=told)
            with anyio.move_on_after(0 if self._over else KEEP_ALIVE):
                await self._news.wait()
        try:
            yield _line(result=self.result())
        except Exception as error:  # noqa: BLE001 - told as every error of a route is
            yield _line(problem=problem_of(request, error))


def _line(**what: object) -> bytes:
    return msgspec.json.encode(what, enc_hook=str) + b"\n"
