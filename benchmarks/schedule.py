"""Which case of whom is measured when, and what still fits into the time that there is.

Nothing here measures: decisions only, over a clock that a test can move by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from benchmarks.plan import Case

UNKNOWN_SECONDS = 15.0
"""What a case is taken to need that was never measured on this machine."""

LEAST_SECONDS = 5.0
"""No case is begun with less than this left."""

Key = tuple[str, str]
"""A subject's name and a case's."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: the module that does the work, and the Python that runs it."""

    name: str
    module: str
    python: str
    cases: tuple[Case, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One round of one case of one subject."""

    subject: Subject
    case: Case
    round: int

    @property
    def key(self) -> Key:
        """Tell the case apart, over all rounds."""
        return self.subject.name, self.case.name


def planned(subjects: Iterable[Subject], rounds: int) -> list[Step]:
    """Return all steps in their order.

    Rounds are outermost and the subjects take turns within a case, so what slows the machine down
    for a while slows all of them. A case has as many rounds as it is worth, `rounds` at most.
    """
    subjects = list(subjects)
    order = list(dict.fromkeys(case.name for subject in subjects for case in subject.cases))
    return [
        Step(subject=subject, case=case, round=number)
        for number in range(1, rounds + 1)
        for name in order
        for subject in subjects
        for case in subject.cases
        if case.name == name and number <= case.rounds
    ]


class Timetable:
    """Follows a run by the clock: what is left of its budget, and how long the rest may take.

    `before` is what each case took when this machine did it last, in seconds.
    """

    def __init__(
        self, steps: Sequence[Step], *, budget: float | None = None,
        before: Mapping[Key, float] | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._steps = list(steps)
        self._budget = budget
        self._taken: dict[Key, float] = dict(before or {})
        self._now: set[Key] = set()
        self._clock = clock
        self._began = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._began

    def took(self, step: Step, seconds: float) -> None:
        """Note what a step took, which says what its next round will."""
        self._taken[step.key] = seconds
        self._now.add(step.key)

    def limit(self, step: Step) -> float:
        """Return the seconds that a step may take: its own bound, or what is left."""
        if self._budget is None:
            return step.case.seconds
        return max(1.0, min(step.case.seconds, self._budget - self.elapsed))

    def fits(self, step: Step) -> bool:
        """Tell whether a step may begin; another round only when it will end in time, too."""
        if self._budget is None:
            return True
        needs = self._taken[step.key] if step.key in self._now else 0.0
        return self._budget - self.elapsed >= max(needs, LEAST_SECONDS)

    def remaining(self, step: Step) -> float:
        """Return what this step and all after it will take, by what they took before."""
        rest = self._steps[self._steps.index(step) :]
        expected = sum(self._taken.get(each.key, UNKNOWN_SECONDS) for each in rest)
        if self._budget is None:
            return expected
        return min(expected, max(0.0, self._budget - self.elapsed))

    def line(self, step: Step) -> str:
        """Return the line that tells what is about to be done.

        >>> Timetable([step]).line(step)  # doctest: +SKIP
        ' 1/1  round 1  insula B, chains of 5 durable steps  00:00 gone, 00:15 to go'
        """
        number, total = self._steps.index(step) + 1, len(self._steps)
        return (
            f"{number:>{len(str(total))}}/{total}  round {step.round}  {step.subject.name} "
            f"{step.case.name}, {step.case.title}  {_clock(self.elapsed)} gone, "
            f"{_clock(self.remaining(step))} to go"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:02}:{rest:02}"
