"""What a tenant's supervisor can be asked. Mail whose reply is settled already is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.engine.schedules import AskSchedule
from orchestrator.model.api import Started, StartRun
from orchestrator.model.states import RunState
from orchestrator.store.tenant.journal import Sent


@dataclass(frozen=True, slots=True)
class Submit:
    """Store these runs and answer when they are durable."""

    runs: Sequence[StartRun]
    reply: Reply[list[Started]]


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Deliver a signal to a run."""

    signal: Sent
    reply: Reply[None]


@dataclass(frozen=True, slots=True)
class ChangeRun:
    """Cancel, pause, resume or retry a run; answered with its state."""

    run: UUID
    verb: Verb
    reason: str
    reply: Reply[RunState]


@dataclass(frozen=True, slots=True)
class RepeatRun:
    """Start a run again from a task on, or as a whole."""

    run: UUID
    task: str | None
    reply: Reply[list[Started]]


@dataclass(frozen=True, slots=True)
class SetPause:
    """Let a workflow, or with '' the whole tenant, start nothing for now, or again."""

    workflow: str
    paused: bool
    reason: str
    reply: Reply[None]


@dataclass(frozen=True, slots=True)
class ChangeSchedule:
    """Pause, resume or fire a schedule; answered with the run that it starts."""

    ask: AskSchedule

    @property
    def reply(self) -> Reply[list[Started]]:
        """Whom to answer."""
        return self.ask.reply


Message = Submit | SendSignal | ChangeRun | RepeatRun | SetPause | ChangeSchedule


class Stop(StrEnum):
    """Why a supervisor is asked to end. Not mail: a full mailbox can not hold it up."""

    EVICT = "evict"
    HAND_OVER = "hand over"
    RENEW = "renew"
    DRAIN = "drain"
    SUSPEND = "suspend"
    REMOVE = "remove"

    @property
    def yields(self) -> bool:
        """True when work that comes first takes the wish back."""
        return self in (Stop.EVICT, Stop.HAND_OVER)
