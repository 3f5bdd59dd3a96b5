"""A request to start runs, until all of them are stored."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from orchestrator.engine.intake import Accepted
from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started


class Submission:
    """Answered, in the order of the request, when the last of its runs is known to be stored.

    Those that were there before are given as they are.
    """

    def __init__(self, reply: Reply[list[Started]], runs: Sequence[Accepted | Started]) -> None:
        self._reply = reply
        self._order = [run.id for run in runs]
        self._stored = {run.id: run for run in runs if isinstance(run, Started)}
        self._left = sum(isinstance(run, Accepted) for run in runs)
        self._answer_when_all_are()

    def stored(self, run: UUID, started: Started) -> None:
        """Note one run; answer when it was the last."""
        self._stored[run] = started
        self._left -= 1
        self._answer_when_all_are()

    def fail(self, error: Exception) -> None:
        """Answer with an error."""
        self._reply.fail(error)

    def _answer_when_all_are(self) -> None:
        if not self._left:
            self._reply.answer([self._stored[run] for run in self._order])
