"""How parts of a supervisor's connection run their statements, and what one answer proves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from orchestrator.store.connect import Connection

T = TypeVar("T")


class Runner(Protocol):
    """Runs a statement on the supervisor's connection."""

    async def __call__(self, act: Callable[[Connection], Awaitable[T]]) -> T: ...


@dataclass(frozen=True, slots=True)
class Fenced:
    """One owner's statements: `ours` raises LeaseLost for the answer that a newer owner leaves."""

    run: Runner
    ours: Callable[[int | None], int]
    schema: str
    epoch: int
