"""Retry policies and their delays. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from orchestrator.model.errors import DefinitionError
from orchestrator.settings.duration import Duration

Backoff = Literal["fixed", "linear", "exponential"]
_BACKOFFS = ("fixed", "linear", "exponential")
_LONGEST = timedelta(days=366)  # a due time has to stay within what a calendar holds


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
    1). `within` bounds all attempts together, rests and waits included, from the start of the first
    one on. Raises DefinitionError for anything unknown or out of bounds.

    >>> Retry(attempts=5, backoff="exponential", initial="1s", cap="60s").delay(3, chance=0.0)
    datetime.timedelta(seconds=4)
    """

    attempts: int = 1
    backoff: Backoff = "exponential"
    initial: str = "1s"
    cap: str = "60s"
    jitter: float = 0.1
    within: str | None = None
    on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        _check_counts(self.backoff, self.attempts, self.jitter)
        _check_rest("initial", self.initial)
        _check_rest("cap", self.cap)
        if self.within is not None:
            _check_rest("within", self.within)
        _check_classes(self.on)

    def ends_at(self, began: datetime) -> datetime | None:
        """Return when the time of all attempts is over if the first one begins now."""
        return None if self.within is None else began + Duration.parse(self.within)

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


# Users' code is often not type-checked, so nothing is known of what these get.
def _check_counts(backoff: Any, attempts: Any, jitter: Any) -> None:
    if backoff not in _BACKOFFS:
        raise DefinitionError(f"backoff is one of {', '.join(_BACKOFFS)}; got {backoff!r}")
    if not isinstance(attempts, int) or attempts < 1:
        raise DefinitionError(
            f"attempts counts the first try, so it is at least 1; got {attempts!r}"
        )
    if not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
        raise DefinitionError(f"jitter is a share between 0 and 1; got {jitter!r}")


def _check_rest(name: str, text: Any) -> None:
    if not isinstance(text, str):
        raise DefinitionError(f"{name}: {text!r} is not a duration")
    try:
        rest = Duration.parse(text)
    except ValueError as error:
        raise DefinitionError(f"{name}: {error}") from None
    if rest > _LONGEST:
        raise DefinitionError(
            f"{name}: a task rests for at most {_LONGEST.days} days; got {text!r}"
        )


def _check_classes(on: Any) -> None:
    classes = on if isinstance(on, tuple) else (on,)
    if not all(isinstance(each, type) and issubclass(each, Exception) for each in classes):
        raise DefinitionError(f"on names exception classes; got {on!r}")
