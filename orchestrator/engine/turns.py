"""How long a tenant's turn at the node's slots is: so much time, and not so many tasks.

What a tenant starts together rides in one flush. If every turn were one slot, a tenant among
hundreds that wait would pay a flush for each task, however short its tasks are.
"""

from __future__ import annotations

from math import inf

QUANTUM_SECONDS = 0.01
"""The time of attempts that a turn of several slots is given, for each point of weight."""

PARTS = 8
"""A turn has at most the node's slots divided by this, for each point of weight: all that a tenant
can hold too much of when its tasks, short until now, become long."""

_MEMORY = 8
"""Each attempt moves the mean by one part in so many of its distance."""


class Pace:
    """How long the attempts of one tenant took lately, and so how many slots its turn is."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = inf  # nothing is known: as if they never ended

    def note(self, seconds: float) -> None:
        """Count an attempt that took so long; one longer than a turn is believed at once."""
        if seconds > QUANTUM_SECONDS or self._seconds == inf:
            self._seconds = seconds
        else:
            self._seconds += (seconds - self._seconds) / _MEMORY

    def turn(self, *, total: int, weight: int, used: int) -> int:
        """Return the slots of the next turn, on a node of `total`: `weight`, or more of short ones.

        `used` is how many the tenant has. A longer turn only fills up to its length, so attempts
        that go on for long leave the tenant with turns of its weight.
        """
        short = total // PARTS
        if short * self._seconds > QUANTUM_SECONDS:
            short = int(QUANTUM_SECONDS / self._seconds)
        return max(weight, weight * short - used)
