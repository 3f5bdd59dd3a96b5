"""A request to start runs, until all of them are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from uuid import UUID

from orchestrator.engine.intake import Accepted
from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started, StartRun
from orchestrator.model.states import RunState
from orchestrator.store.tenant.journal import Key, Known


def beside(
    known: Mapping[Key, Started],
    runs: Sequence[StartRun],
    accept: Callable[[Sequence[StartRun]], Sequence[Accepted]],
) -> list[Accepted | Started]:
    """Return, in order, those of `runs` that are `known` by their keys, and the others accepted.

    Raises what `accept` does, which is asked for the others alone.
    """
    found = [known.get((run.workflow, run.key)) if run.key else None for run in runs]
    new = [run for run, there in zip(runs, found, strict=True) if there is None]
    accepted = iter(accept(new))
    return [there or next(accepted) for there in found]


def by_key(stored: Iterable[Known]) -> dict[Key, Started]:
    """Return runs that were there before, as they are told to who asks for them again."""
    return {
        (run.workflow, run.key): Started(id=run.id, state=RunState(run.state), known=True)
        for run in stored
        if run.key is not None
    }


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
