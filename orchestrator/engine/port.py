"""What the engine does for the durable calls of its attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import anyio

from orchestrator.engine import endings, entries
from orchestrator.engine.attempts import Attempts
from orchestrator.engine.board import Board
from orchestrator.engine.commit import GroupCommit
from orchestrator.engine.durable import Write
from orchestrator.engine.execution import Execution
from orchestrator.engine.intake import Accepted
from orchestrator.engine.outcome import Succeeded
from orchestrator.engine.table import Table
from orchestrator.model.api import StartRun
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.model.states import TaskState
from orchestrator.store.tenant.journal import Completion, NewRun
from orchestrator.store.tenant.runs import RunEnd
from orchestrator.workflow.durable import ChildRequest

COMPLETE_SECONDS = 15.0
"""How long the commit of a transactional task may take, with the question how it came out."""


class Port:
    """Implements `durable.Port` over the parts of one engine."""

    def __init__(
        self,
        board: Board,
        table: Table,
        attempts: Attempts,
        accept: Callable[[Sequence[StartRun]], list[Accepted]],
        commit: GroupCommit,
    ) -> None:
        self._board = board
        self._table = table
        self._attempts = attempts
        self._accept = accept
        self._commit = commit
        self.touch = commit.touch

    @property
    def now(self) -> datetime:
        """The database's time, carried forward."""
        return self._board.clock.now()

    @property
    def threads(self) -> anyio.CapacityLimiter:
        """The tenant's worker threads."""
        return self._attempts.threads

    def poke(self) -> None:
        """Look for the run that was just added to the table."""
        self._table.wake()

    def child_row(self, request: ChildRequest, parent: Execution) -> NewRun:
        """Return the row of a run that a task starts; raises as a submit is refused."""
        run = StartRun(
            workflow=request.workflow,
            input=request.input,
            queue=request.queue,
            priority=request.priority,
        )
        (accepted,) = self._accept([run])
        return accepted.row(epoch=0, now=self.now, parent=parent.id)

    async def complete(
        self, execution: Execution, name: str, result: Succeeded, write: Write
    ) -> bool:
        """Let an attempt commit its own completion; False when the run has ended meanwhile.

        No flush writes of the run meanwhile, so the entry has the next number of its journal. Once
        begun it is not cancelled: half of the tenant would not know how it came out. Of a server
        that stays silent the next owner learns it, from the journal: DatabaseUnavailable.
        """
        async with self._commit.alone(execution):
            running = execution.tasks[name].state is TaskState.RUNNING
            if not running or not self._board.holds(execution):
                return False
            entry = endings.success(
                execution, name, result, allowed=self._board.limits.max_result_bytes
            )
            place = execution.id, name
            text = entries.encode([entry])
            self._board.completing.add(place)
            with anyio.move_on_after(COMPLETE_SECONDS, shield=True) as deadline:
                try:
                    with execution.meter.aside(name) as took:
                        await write(Completion(execution.id, execution.written, text, took))
                    execution.record(entry, stored=True)
                finally:
                    self._board.completing.discard(place)
            if deadline.cancelled_caught:
                raise DatabaseUnavailable(
                    f"whether task {name!r} of run {execution.id} has committed is not known"
                )
        return True

    async def end_of(self, run: UUID) -> RunEnd | None:
        """Return how a run ended; None when it has not, or is not there."""
        return await self._table.end_of(run)
