"""Runs the cases: one process each, in the order of the schedule."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import asyncpg
import msgspec

from benchmarks.document import INSULA, LEFT_OUT, Measured
from benchmarks.plan import Case
from benchmarks.schedule import Key, Step, Subject, Timetable
from benchmarks.server import Server

ROOT = Path(__file__).parents[1]
LAST_SECONDS = 10.0
TOLD = 600
"""Characters of a failed process's last words that are kept."""


class Failed(Exception):
    """A process did not do what it was asked to."""


def insula(cases: Sequence[Case]) -> Subject:
    """Return Insula itself, in the environment of this process."""
    return Subject(
        name=INSULA, module="benchmarks.cases", python=sys.executable, cases=tuple(cases)
    )


class Harness:
    """Measures subjects on one server; `said` is told of each step before it is taken."""

    def __init__(
        self, server: Server, directory: Path, *, quick: bool, said: Callable[[str], None]
    ) -> None:
        self._server = server
        self._directory = directory
        self._quick = quick
        self._said = said

    def measure(self, steps: Sequence[Step], timetable: Timetable) -> Iterator[Measured]:
        """Yield what each step measured, or why it did not.

        A case that fails is not tried again, and what the time does not allow is left out: the
        others go on.
        """
        last = {step.key: step for step in steps}
        given_up: set[Key] = set()
        for step in steps:
            if step.key in given_up:
                continue
            if not timetable.fits(step):
                given_up.add(step.key)
                if step.round == 1:
                    yield _not_measured(step, LEFT_OUT)
                continue
            self._said(timetable.line(step))
            measured = self._one(step, timetable)
            timetable.took(step, measured.seconds)
            if measured.error:
                given_up.add(step.key)
            if measured.error or last[step.key] is step:
                self._server.drop(_database(step))
            yield measured

    def _one(self, step: Step, timetable: Timetable) -> Measured:
        began = time.monotonic()
        try:
            if step.round == 1:
                self._set_up(step, timetable.limit(step))
            figures = self._run(step, timetable.limit(step))
        except (Failed, OSError, asyncpg.PostgresError, msgspec.MsgspecError) as error:
            return _not_measured(step, str(error), time.monotonic() - began)
        return Measured(
            subject=step.subject.name,
            case=step.case.name,
            round=step.round,
            figures=figures,
            seconds=time.monotonic() - began,
        )

    def _set_up(self, step: Step, seconds: float) -> None:
        self._server.create(_database(step))
        self._home(step).mkdir()
        self._call(step, seconds, "--set-up")

    def _run(self, step: Step, seconds: float) -> dict[str, float]:
        """Return the figures of one process, and what it and the server have used for it."""
        database = _database(step)
        self._server.checkpoint()
        commits, server = self._server.commits(database), self._server.cpu_seconds()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = self._call(step, seconds)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures: dict[str, float] = msgspec.json.decode(output, type=dict[str, float])
        figures["process_cpu_seconds"] = (
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        )
        figures["server_cpu_seconds"] = self._server.cpu_seconds() - server
        figures["commits"] = float(self._server.commits(database) - commits)
        return _per_unit(figures)

    def _call(self, step: Step, seconds: float, *more: str) -> bytes:
        """Return the last line that the process prints; Failed when it fails or takes too long."""
        count, size = step.case.scale(quick=self._quick)
        command = [
            step.subject.python, "-m", step.subject.module, step.case.work,
            f"--url={self._server.url(_database(step))}", f"--home={self._home(step)}",
            f"--count={count}", f"--size={size}", *more,
        ]  # fmt: skip
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            what = "its set-up took" if more else "took"
            raise Failed(f"{what} longer than {seconds:.0f} s") from None
        finally:
            _end(process)
        if process.returncode:
            told = _last_words(errors.decode(errors="replace"))
            raise Failed(
                f"exit code {process.returncode} after {time.monotonic() - began:.1f} s: {told}"
            )
        return output.splitlines()[-1] if output.strip() else b"{}"

    def _home(self, step: Step) -> Path:
        return self._directory / f"{step.subject.name}-{step.case.name}"


def _database(step: Step) -> str:
    return f"{step.subject.name}_{step.case.name}".lower().replace("-", "_")


def _not_measured(step: Step, why: str, seconds: float = 0.0) -> Measured:
    return Measured(
        subject=step.subject.name,
        case=step.case.name,
        round=step.round,
        error=why,
        seconds=seconds,
    )


def _per_unit(figures: dict[str, float]) -> dict[str, float]:
    """Add the costs of one run, or one step, to the totals."""
    for unit in ("run", "step"):
        if count := figures.pop(f"measured_{unit}s", 0.0):
            for name in ("client_cpu", "server_cpu"):
                seconds = figures.get(f"{name}_seconds", 0.0)
                figures[f"{name}_us_per_{unit}"] = 1e6 * seconds / count
            figures[f"commits_per_{unit}"] = figures["commits"] / count
    return figures


def _last_words(text: str) -> str:
    """Return the line that names the error, of a traceback; else the end of what was said."""
    named = [line.strip(" |") for line in text.splitlines() if re.match(r"[ |]*[\w.]+: \S", line)]
    return (named[-1] if named else text.strip())[-TOLD:]


def _environment() -> dict[str, str]:
    """Return the environment without what would lead a subject to another database."""
    names = {"DATABASE_URL", "POSTGRESQL_URL", "NOTIFY_SOCKET", "WATCHDOG_USEC"}
    kept = {n: v for n, v in os.environ.items() if n not in names and not n.startswith("PG")}
    kept.pop("INSULA_DATABASE_URL", None)
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process if it has not ended: first so that it can end what it has started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=LAST_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
