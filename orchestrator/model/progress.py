"""How far a long operation is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One report; without a `total` it is not known how much there is to do."""

    phase: str
    done: int = 0
    total: int | None = None
    unit: str = ""


Report = Callable[[Progress], None]
"""Takes each report; it must not block."""
