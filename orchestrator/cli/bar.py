"""Draws on the terminal how far a long command is."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from orchestrator.cli.output import line
from orchestrator.model import progress


class Bar:
    """One line on stderr, which is wiped away at the end."""

    def __init__(self) -> None:
        self._drawn = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._drawn.add_task("", total=None, count="")

    def __enter__(self) -> Self:
        self._drawn.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._drawn.stop()

    def report(self, told: progress.Progress) -> None:
        """Show where the operation is now."""
        self._drawn.update(
            self._task,
            description=escape(line(told.phase)),
            completed=told.done,
            total=told.total,
            count=count_of(told),
        )


def count_of(told: progress.Progress) -> str:
    """Return how many of how many are done, in words.

    >>> count_of(progress.Progress("table seat", 2, 3, "tables"))
    '2 of 3 tables'
    """
    if told.total is None and not told.done:
        return ""
    many = f"{told.done}" if told.total is None else f"{told.done} of {told.total}"
    return f"{many} {told.unit}".rstrip()
