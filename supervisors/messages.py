"""What a tenant's supervisor can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun


@dataclass(frozen=True, slots=True)
class Submit:
    """Store these runs and answer when they are durable.

    After `deadline` (monotonic) nobody waits.
    """

    runs: Sequence[StartRun]
    reply: Reply[list[Started]]
    deadline: float


Message = Submit


class Stop(StrEnum):
    """Why a supervisor is asked to end. Not mail: a full mailbox can not hold it up."""

    EVICT = "evict"
    DRAIN = "drain"
    SUSPEND = "suspend"
    REMOVE = "remove"
