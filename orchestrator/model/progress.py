"""How far a long procedure is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """The `phase` a procedure is in, and how much of it is `done`; None is not known."""

    phase: str
    done: int = 0
    total: int | None = None
    unit: str = ""


Report = Callable[[Progress], None]
"""What a long procedure tells of its progress."""


def silent(_: Progress) -> None:
    """Tell nobody."""
