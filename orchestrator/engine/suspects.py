"""Tasks that were under way when the process died run one at a time, until they prove harmless."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from orchestrator.engine.execution import Execution
from orchestrator.engine.slots import TenantSlots
from orchestrator.model.api import Failure

CRASHES = 3
"""A task that was under way at so many crashes in a row takes its run to the dead letters."""

ALONE = timedelta(seconds=30)
"""A suspect that the process outlives for so long is none any more: the next one's turn."""


class Suspects:
    """One tenant's use of the node's one place for suspects."""

    def __init__(self, slots: TenantSlots) -> None:
        self._slots = slots
        self.alone: tuple[UUID, str] | None = None
        """The run and task that has the place; looked at after each step, so it is no call."""
        self._until: datetime | None = None

    @property
    def next_due(self) -> datetime | None:
        """When the one that runs alone has done so for long enough."""
        return self._until

    def may_start(self, execution: Execution, name: str) -> bool:
        """Return whether one more crash of the task would do no harm, or the place is now its."""
        if execution.tasks[name].crashes < CRASHES - 1:
            return True
        if not self._slots.take_solo():
            return False
        self.alone = execution.id, name
        return True

    def begins(self, now: datetime) -> None:
        """Note the start of the attempt that has the place."""
        self._until = now + ALONE

    def outlived(self, now: datetime) -> tuple[UUID, str] | None:
        """Return the run and task that have been alone for long enough, once."""
        if self._until is None or self._until > now:
            return None
        self._until = None
        return self.alone

    def leave(self, run: UUID, name: str | None = None) -> None:
        """Free the place if the run, or this task of it, has it."""
        if self.alone is not None and self.alone[0] == run and name in (None, self.alone[1]):
            self.close()

    def close(self) -> None:
        """Free the place if this tenant has it."""
        if self.alone is not None:
            self.alone = self._until = None
            self._slots.give_back_solo()


def poison_of(execution: Execution) -> Failure | None:
    """Return why the run is a dead letter, if a task of it was under way at too many crashes."""
    for name, task in execution.tasks.items():
        if task.crashes >= CRASHES:
            return Failure(
                type="CrashedTooOften",
                message=f"task {name!r} was under way at {task.crashes} crashes of the process",
                task=name,
            )
    return None
