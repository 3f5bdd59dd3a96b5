"""A small pure model of the engine: what its runs come to, without a database, a loop or a clock.

A task is a script of phases, and the engine runs workflows made from the same scripts. The model
knows only where things stand when all is quiet: which phases wait for the test to end them, and
how runs have ended. It knows nothing of flushes, of what is in memory, or of owners but that the
attempts of a former one begin again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

SLEEP = 10
KID = "single"
FIRED = "blink"
EVERY = 15
"""A schedule fires a run of the play FIRED so often."""


class Phase(StrEnum):
    """What a task does next. `HOLD` is a step, `LAST` is not: both wait for the test."""

    HOLD = "hold"
    SIGNAL = "signal"
    SLEEP = "sleep"
    CHILD = "child"
    LAST = "last"


@dataclass(frozen=True)
class Script:
    """One task; after a failed attempt it waits `pause` seconds."""

    phases: tuple[Phase, ...]
    after: tuple[str, ...] = ()
    attempts: int = 1
    pause: int = 2


# A pause of 2 s keeps a run in memory, one of 8 s does not.
PLAYS: dict[str, dict[str, Script]] = {
    KID: {"only": Script((Phase.LAST,), attempts=2)},
    "diamond": {
        "top": Script((Phase.LAST,)),
        "left": Script((Phase.HOLD, Phase.LAST), ("top",), attempts=3, pause=8),
        "right": Script((Phase.LAST,), ("top",), attempts=2),
        "bottom": Script((Phase.LAST,), ("left", "right")),
    },
    "talk": {"only": Script((Phase.SIGNAL, Phase.HOLD, Phase.SIGNAL, Phase.LAST), attempts=2)},
    "nap": {"only": Script((Phase.SLEEP, Phase.HOLD, Phase.SLEEP), attempts=2)},
    "family": {
        "parent": Script((Phase.CHILD, Phase.LAST), attempts=2),
        "aside": Script((Phase.SIGNAL, Phase.LAST)),
        "end": Script((Phase.LAST,), ("parent", "aside")),
    },
    FIRED: {"only": Script(())},
}


@dataclass
class TaskModel:
    """Where a task stands; `phase` is the first that is not done for good."""

    script: Script
    state: str = "waiting"
    phase: int = 0
    failures: int = 0
    due: int | None = None
    got: list[int] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """True when it is over."""
        return self.state in {"succeeded", "failed", "skipped"}

    def fail(self, now: int) -> None:
        """Let an attempt fail."""
        self.failures += 1
        again = self.failures < self.script.attempts
        self.state = "retrying" if again else "failed"
        self.due = now + self.script.pause if again else None


@dataclass
class RunModel:
    """Where a run stands. `due` is when it may begin, `deadline` when it has to have ended."""

    name: str
    play: str
    due: int
    key: str | None = None
    deadline: int | None = None
    parent: str | None = None
    state: str = "live"
    paused: bool = False
    signals: list[int] = field(default_factory=list)
    tasks: dict[str, TaskModel] = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = {name: TaskModel(script) for name, script in PLAYS[self.play].items()}

    @property
    def output(self) -> list[int]:
        """What its last task returns: the signals that it took."""
        return list(self.tasks.values())[-1].got


@dataclass
class Model:
    """All runs of the tenant."""

    now: int = 0
    fires: int = 0
    paused: set[str] = field(default_factory=set)
    runs: dict[str, RunModel] = field(default_factory=dict)

    # -- what happens ------------------------------------------------------------------

    def known(self, play: str, key: str | None) -> str | None:
        """Return the run that has the key already."""
        found = (r.name for r in self.runs.values() if key and (r.play, r.key) == (play, key))
        return next(found, None)

    def add(self, run: RunModel) -> None:
        """Accept a run."""
        self.runs[run.name] = run

    def end_phase(self, run: str, task: str) -> None:
        """Let the phase that waits for the test end well."""
        self.runs[run].tasks[task].phase += 1

    def fail(self, run: str, task: str) -> None:
        """Let it raise."""
        self.runs[run].tasks[task].fail(self.now)

    def cancel(self, run: str) -> None:
        """End a run and those that it has started."""
        if self.runs[run].state == "live":
            self._end(self.runs[run], "cancelled")

    def retry(self, run: str) -> None:
        """Let a failed run go on, however late: what has not succeeded begins afresh."""
        failed = self.runs[run]
        failed.state, failed.deadline = "live", None
        for name, task in failed.tasks.items():
            if task.state != "succeeded":
                failed.tasks[name] = TaskModel(task.script)

    def look(self, run: RunModel) -> None:
        """Let somebody look at a run, though a pause holds it: its time may be over."""
        if self.is_over_time(run):
            self._end(run, "failed")

    def take_over(self) -> None:
        """Let another owner begin: attempts under way are lost."""
        for task in self._tasks("running"):
            task.state = "ready"

    # -- what is to be seen ------------------------------------------------------------

    def is_paused(self, run: RunModel) -> bool:
        """Tell whether a pause, of the run, of its play or of everything, lets it start nothing."""
        return run.paused or not self.paused.isdisjoint({"", run.play})

    @property
    def held(self) -> set[tuple[str, str, int]]:
        """The phases that wait for the test to end them."""
        return {
            (run.name, name, task.phase)
            for run in self._live()
            for name, task in run.tasks.items()
            if task.state == "running"
        }

    @property
    def states(self) -> dict[str, str]:
        """How each run has ended, or that it lives."""
        return {run.name: run.state for run in self.runs.values()}

    def is_over_time(self, run: RunModel) -> bool:
        """Tell whether a run that lives should have ended by now."""
        return run.state == "live" and run.deadline is not None and run.deadline <= self.now

    # -- what follows ------------------------------------------------------------------

    def settle(self) -> None:
        """Let happen what follows, until nothing does."""
        while self.fires < self.now // EVERY:
            self.fires += 1
            self.add(RunModel(f"fire {self.fires * EVERY}", FIRED, self.now))
        while sum(self._move_run(run) for run in list(self._live())):
            pass

    def _move_run(self, run: RunModel) -> bool:
        if run.due > self.now:
            return False
        if self._is_late(run):
            self._end(run, "failed")
            return True
        moved = sum(self._move(run, name, task) for name, task in run.tasks.items())
        if all(task.settled for task in run.tasks.values()):
            failed = any(task.state == "failed" for task in run.tasks.values())
            self._end(run, "failed" if failed else "succeeded")
            return True
        return bool(moved)

    def _is_late(self, run: RunModel) -> bool:
        """Tell whether its time is over; one that a pause keeps from everything is not asked."""
        at_work = any(task.state == "running" for task in run.tasks.values())
        return (at_work or not self.is_paused(run)) and self.is_over_time(run)

    def _end(self, run: RunModel, state: str) -> None:
        run.state = state
        for child in [r.name for r in self.runs.values() if r.parent == run.name]:
            self.cancel(child)

    def _move(self, run: RunModel, name: str, task: TaskModel) -> bool:
        match task.state:
            case "waiting":
                before = [run.tasks[up] for up in task.script.after]
                if not all(up.settled for up in before):
                    return False
                well = all(up.state == "succeeded" for up in before)
                task.state = "ready" if well else "skipped"
            case "retrying" if task.due is not None and task.due <= self.now:
                task.state, task.due = "ready", None
            case "parked" if self._has_come(run, name, task):
                task.state = "ready"
            case "ready" if not self.is_paused(run):
                task.state = "running"
            case "running":
                return self._play(run, name, task)
            case _:
                return False
        return True

    def _play(self, run: RunModel, name: str, task: TaskModel) -> bool:
        if task.phase == len(task.script.phases):
            task.state = "succeeded"
            return True
        phase = task.script.phases[task.phase]
        if phase in {Phase.HOLD, Phase.LAST}:
            return False
        if phase is Phase.SLEEP and task.due is None:
            task.due = self.now + SLEEP
        child = f"{run.name}/{name}"
        if phase is Phase.CHILD and child not in self.runs:
            self.add(RunModel(child, KID, self.now, parent=run.name))
        if not self._has_come(run, name, task):
            task.state = "parked"
        elif phase is Phase.CHILD and self.runs[child].state != "succeeded":
            task.fail(self.now)
        else:
            task.got += [run.signals.pop(0)] if phase is Phase.SIGNAL else []
            task.phase, task.due = task.phase + 1, None
        return True

    def _has_come(self, run: RunModel, name: str, task: TaskModel) -> bool:
        match task.script.phases[task.phase]:
            case Phase.SIGNAL:
                return bool(run.signals)
            case Phase.SLEEP:
                return task.due is not None and task.due <= self.now
            case _:
                return self.runs[f"{run.name}/{name}"].state != "live"

    def _live(self) -> Iterator[RunModel]:
        return (run for run in self.runs.values() if run.state == "live")

    def _tasks(self, state: str) -> Iterator[TaskModel]:
        return (t for run in self._live() for t in run.tasks.values() if t.state == state)
