"""What the engine does for the durable calls of its attempts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import anyio

from orchestrator.engine.attempts import Attempts
from orchestrator.engine.board import Board
from orchestrator.engine.execution import Execution
from orchestrator.engine.intake import Accepted
from orchestrator.engine.table import Table
from orchestrator.model.api import StartRun
from orchestrator.store.tenant.journal import NewRun
from orchestrator.store.tenant.runs import RunEnd
from orchestrator.workflow.durable import ChildRequest


class Port:
    """Implements `durable.Port` over the parts of one engine."""

    def __init__(
        self,
        board: Board,
        table: Table,
        attempts: Attempts,
        accept: Callable[[Sequence[StartRun]], list[Accepted]],
        touch: Callable[[Execution], None],
    ) -> None:
        self._board = board
        self._table = table
        self._attempts = attempts
        self._accept = accept
        self.touch = touch

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

    async def end_of(self, run: UUID) -> RunEnd | None:
        """Return how a run ended; None when it has not, or is not there."""
        return await self._table.end_of(run)
