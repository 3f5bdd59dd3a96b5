"""Takes an answer apart that tells how far an operation is, line by line."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from orchestrator.client.call import Call, refusal
from orchestrator.model.errors import DaemonUnreachable
from orchestrator.model.progress import Progress, Report

T = TypeVar("T")


class _Line(msgspec.Struct):
    """One line: it has one of these."""

    progress: Progress | None = None
    result: msgspec.Raw = msgspec.Raw()
    problem: msgspec.Raw = msgspec.Raw()


class ToldAnswer(Generic[T]):
    """The answer to `call`, of which `report` hears the progress. Feed it each line."""

    def __init__(self, call: Call[T], report: Report) -> None:
        self._call = call
        self._report = report
        self._results: list[T] = []

    def feed(self, text: str) -> None:
        """Take one line; raises the error of ours that it tells of."""
        line = self._call.understand(text.encode(), _Line)
        if line.progress is not None:
            self._report(line.progress)
        if line.problem:
            raise refusal(0, line.problem)
        if line.result:
            self._results.append(self._call.understand(line.result, self._call.answer))

    def result(self) -> T:
        """Return the result; DaemonUnreachable when the answer ended without one."""
        for result in self._results:
            return result
        raise DaemonUnreachable(
            "the daemon went away in the middle; what became of it is unknown",
            hint="`insula tenant audit` tells, and what was begun goes on when the daemon does",
        )
