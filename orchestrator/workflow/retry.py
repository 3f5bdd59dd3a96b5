"""Retry policies and their delays. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from orchestrator.model.errors import DefinitionError
from orchestrator.settings.duration import Duration

Backoff = Literal["fixed", "linear", "exponential"]
_BACKOFFS = ("fixed", "linear", "exponential")


class Fail(Exception):
    """Raised by a task that knows no retry can help: the attempt fails for good.

    >>> raise Fail("the file has no column 'carrier'")
    Traceback (most recent call last):
    orchestrator.workflow.retry.Fail: the file has no column 'carrier'
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a task is tried, how long it rests between attempts, and after which exceptions.

    `attempts` counts the first one; `jitter` is the share of a delay that is left to chance (0 to
    1). Raises DefinitionError for anything unknown or out of bounds.

    >>> Retry(attempts=5, backoff="exponential", initial="1s", cap="60s").delay(3, chance=0.0)
    datetime.timedelta(seconds=4)
    """

    attempts: int = 1
    backoff: Backoff = "exponential"
    initial: str = "1s"
    cap: str = "60s"
    jitter: float = 0.1
    on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        if self.backoff not in _BACKOFFS:
            raise DefinitionError(f"backoff is one of {', '.join(_BACKOFFS)}; got {self.backoff!r}")
        if self.attempts < 1:
            raise DefinitionError(
                f"attempts counts the first try, so it is at least 1; got {self.attempts}"
            )
        if not 0 <= self.jitter <= 1:
            raise DefinitionError(f"jitter is a share between 0 and 1; got {self.jitter}")
        for name in ("initial", "cap"):
            _duration(name, getattr(self, name))

    def delay(self, failures: int, *, chance: float) -> timedelta:
        """Return the rest before the next attempt after `failures` failed ones (at least 1).

        `chance` in [0, 1) is drawn by the caller, so that the answer is a function of its
        arguments.
        """
        initial = Duration.parse(self.initial).total_seconds()
        growth = {"fixed": 1, "linear": failures, "exponential": 2 ** min(failures - 1, 62)}
        seconds = min(initial * growth[self.backoff], Duration.parse(self.cap).total_seconds())
        return timedelta(seconds=seconds * (1 - self.jitter * chance))

    def covers(self, error: BaseException) -> bool:
        """Return whether the policy retries after `error`."""
        return isinstance(error, self.on) and not isinstance(error, Fail)


def _duration(name: str, text: str) -> None:
    try:
        Duration.parse(text)
    except ValueError as error:
        raise DefinitionError(f"{name}: {error}") from None
