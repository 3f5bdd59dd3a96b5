"""How far a long operation is: what it reports, and what crosses the API of that."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

NDJSON = "application/x-ndjson"
"""Lines of JSON: any number of `{"progress": …}`, then one `{"result": …}` or `{"problem": …}`."""


class Progress(msgspec.Struct, frozen=True):
    """Where an operation is: `done` of `total` units, such as tables; a total may be unknown."""

    phase: str
    done: int = 0
    total: int | None = None
    unit: str = ""


Report = Callable[[Progress], None]
"""Takes each step of an operation. It returns at once, and what it is told last is what counts."""


def unheard(progress: Progress) -> None:
    """Report to nobody."""
