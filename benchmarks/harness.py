"""Runs the cases: one process each, round after round, every subject in each round."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks.document import INSULA, Measured
from benchmarks.plan import Case
from benchmarks.server import Server

ROOT = Path(__file__).parents[1]
LAST_SECONDS = 10.0
TOLD = 600
"""Characters of a failed process's last words that are kept."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: the module that does the work, and the Python that runs it."""

    name: str
    module: str
    python: str
    cases: tuple[Case, ...]


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

    def measure(self, subjects: Iterable[Subject], rounds: int) -> list[Measured]:
        """Return what every subject's every case measured, in each round.

        Rounds are outermost and the subjects take turns within a case, so what slows the machine
        down for a while slows all of them. A case whose set-up fails is not tried again.
        """
        pairs = _interleaved(subjects)
        measured, given_up = [], set()
        for number in range(1, rounds + 1):
            for subject, case in pairs:
                if (subject.name, case.name) in given_up:
                    continue
                self._said(f"round {number} of {rounds}: {subject.name} {case.name}, {case.title}")
                try:
                    if number == 1:
                        self._set_up(subject, case)
                    figures = self._run(subject, case)
                except Failed as error:
                    given_up.add((subject.name, case.name))
                    measured.append(_failed(subject, case, number, error))
                else:
                    measured.append(
                        Measured(
                            subject=subject.name, case=case.name, round=number, figures=figures
                        )
                    )
                if number == rounds or (subject.name, case.name) in given_up:
                    self._server.drop(_database(subject, case))
        return measured

    def _set_up(self, subject: Subject, case: Case) -> None:
        self._server.create(_database(subject, case))
        self._home(subject, case).mkdir()
        self._call(subject, case, "--set-up")

    def _run(self, subject: Subject, case: Case) -> dict[str, float]:
        """Return the figures of one process, and what it and the server have used for it."""
        database = _database(subject, case)
        self._server.checkpoint()
        commits, server = self._server.commits(database), self._server.cpu_seconds()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = self._call(subject, case)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        figures: dict[str, float] = msgspec.json.decode(output, type=dict[str, float])
        figures["process_cpu_seconds"] = (
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        )
        figures["server_cpu_seconds"] = self._server.cpu_seconds() - server
        figures["commits"] = float(self._server.commits(database) - commits)
        return _per_unit(figures)

    def _call(self, subject: Subject, case: Case, *more: str) -> bytes:
        """Return the last line that the process prints; Failed when it fails or takes too long."""
        count, size = case.scale(quick=self._quick)
        command = [
            subject.python, "-m", subject.module, case.work,
            f"--url={self._server.url(_database(subject, case))}",
            f"--home={self._home(subject, case)}", f"--count={count}", f"--size={size}", *more,
        ]  # fmt: skip
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            output, errors = process.communicate(timeout=case.seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"took longer than {case.seconds:g} s") from None
        finally:
            _end(process)
        if process.returncode:
            told = _last_words(errors.decode(errors="replace"))
            raise Failed(
                f"exit code {process.returncode} after {time.monotonic() - began:.1f} s: {told}"
            )
        return output.splitlines()[-1] if output.strip() else b"{}"

    def _home(self, subject: Subject, case: Case) -> Path:
        return self._directory / f"{subject.name}-{case.name}"


def _interleaved(subjects: Iterable[Subject]) -> list[tuple[Subject, Case]]:
    """Return every subject's cases, those of the same name next to each other."""
    subjects = list(subjects)
    order = list(dict.fromkeys(case.name for subject in subjects for case in subject.cases))
    return [
        (subject, case)
        for name in order
        for subject in subjects
        for case in subject.cases
        if case.name == name
    ]


def _database(subject: Subject, case: Case) -> str:
    return f"{subject.name}_{case.name}".lower().replace("-", "_")


def _failed(subject: Subject, case: Case, number: int, error: Failed) -> Measured:
    return Measured(subject=subject.name, case=case.name, round=number, error=str(error))


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
