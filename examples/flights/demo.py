"""Insula in a minute: 16 airlines report on a month, the daemon is killed, nothing is lost.

Run it with `make demo`.
"""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.flights import reckon
from examples.flights.process import Daemon
from orchestrator import Client
from orchestrator.client.client import RunHandle
from orchestrator.model.api import RunView
from orchestrator.model.errors import InsulaError, Unavailable
from orchestrator.model.states import RunState, TaskState

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "insula.toml"
MONTH = HERE / "data" / "flights-2013-01.csv.gz"
AIRLINES = HERE / "data" / "airlines.csv"

START_TIMEOUT = 60.0
ROUND_TIMEOUT = 90.0
LOOK = 0.05
"""Seconds between two looks at the runs."""

ROUNDS_TO_KILL = 3
"""How often a round is begun until one is caught with runs under way."""

LONGEST_TEMP = 40
"""A unix socket's path has at most 107 bytes; below a longer directory ours might not fit."""


class DemoFailed(Exception):
    """Something is not as it has to be; the message says what."""


@dataclass(frozen=True)
class Round:
    """One run for every airline, by carrier code."""

    name: str
    runs: Mapping[str, RunHandle]


Views = Mapping[str, RunView]


class Demo:
    """Plays the two rounds and checks what came of them."""

    def __init__(self, console: Console, daemon: Daemon, client: Client) -> None:
        self._console = console
        self._daemon = daemon
        self._client = client
        self._airlines = _airlines()
        self._expected = reckon.by_carrier(MONTH)

    async def play(self) -> None:
        """Play it all; raises DemoFailed when anything is not as it has to be."""
        await self._serve()
        first = await self._start("first")
        with self._progress("one month of flights, 16 tenants") as progress:
            views = await self._finish(first, progress)
        self._check(views)
        self._console.print(self._table(views))
        names = ["first", *await self._survive_a_kill()]
        await self._count_rows()
        await self._start_again(names)
        self._say("every flight was counted once, every run ran once, a known key started nothing")

    # -- the first round ---------------------------------------------------------------------------

    async def _serve(self) -> float:
        """Start the daemon and return the seconds until it was ready."""
        began = time.monotonic()
        self._daemon.start()
        while time.monotonic() < began + START_TIMEOUT:
            try:
                status = await self._client.status()
            except Unavailable:
                if not self._daemon.alive:
                    raise DemoFailed("the daemon ended instead of serving") from None
                await asyncio.sleep(LOOK)
            else:
                took = time.monotonic() - began
                version = status.database_version.split()[0]
                self._say(
                    f"serving {status.tenants} tenants on PostgreSQL {version} after {took:.1f} s"
                )
                return took
        raise DemoFailed(f"the daemon was not ready within {START_TIMEOUT:.0f} s")

    async def _start(self, name: str) -> Round:
        """Start a run for every airline; the same name again gives the same runs."""
        handles = await asyncio.gather(
            *(
                self._client.tenant(carrier).start(
                    "monthly_report", {"file": str(MONTH)}, key=f"{MONTH.name} {name}"
                )
                for carrier in self._airlines
            )
        )
        return Round(name, dict(zip(self._airlines, handles, strict=True)))

    async def _finish(self, playing: Round, progress: Progress) -> Views:
        """Return the runs when all have finished."""
        deadline = time.monotonic() + ROUND_TIMEOUT
        while time.monotonic() < deadline:
            views = await self._look(playing)
            finished = sum(view.state.finished for view in views.values())
            progress.update(progress.task_ids[0], completed=finished)
            if finished == len(views):
                return views
            await asyncio.sleep(LOOK)
        raise DemoFailed(f"the runs were not all finished within {ROUND_TIMEOUT:.0f} s")

    async def _look(self, playing: Round) -> Views:
        views = await asyncio.gather(*(run.view() for run in playing.runs.values()))
        return dict(zip(playing.runs, views, strict=True))

    # -- the second --------------------------------------------------------------------------------

    async def _survive_a_kill(self) -> list[str]:
        """Kill the daemon in the middle of a round; return the names of the rounds it took."""
        names: list[str] = []
        for number in range(ROUNDS_TO_KILL):
            names.append(f"second {number}")
            with self._progress("once more, and SIGKILL on the way") as progress:
                playing = await self._start(names[-1])
                finished = await self._until_some_finished(playing, progress)
                self._daemon.kill()
                killed_at = datetime.now(UTC)
                began = time.monotonic()
                await self._serve()
                views = await self._finish(playing, progress)
            took = time.monotonic() - began
            self._check(views)
            under_way = sum(_finished_at(view) > killed_at for view in views.values())
            if under_way:
                repeated = sum(task.attempt > 1 for view in views.values() for task in view.tasks)
                self._say(
                    f"killed with {finished} runs seen finished and {under_way} of "
                    f"{len(views)} under way; {took:.1f} s after the restart began all had "
                    f"finished, {repeated} interrupted tasks ran again",
                    "recovered",
                )
                return names
        raise DemoFailed(f"{ROUNDS_TO_KILL} rounds were over before the daemon could be killed")

    async def _until_some_finished(self, playing: Round, progress: Progress) -> int:
        while True:
            views = await self._look(playing)
            finished = sum(view.state.finished for view in views.values())
            progress.update(progress.task_ids[0], completed=finished)
            if finished:
                return finished
            await asyncio.sleep(LOOK)

    # -- is it right? ------------------------------------------------------------------------------

    def _check(self, views: Views) -> None:
        """Compare every run with what plain Python makes of the file."""
        for carrier, view in views.items():
            if view.state is not RunState.SUCCEEDED:
                reason = view.error.message if view.error else "no reason given"
                raise DemoFailed(f"the run of {carrier} is {view.state}: {reason}")
            done = [task.name for task in view.tasks if task.state is TaskState.SUCCEEDED]
            if len(done) != len(set(done)) or len(done) != len(view.tasks):
                raise DemoFailed(f"the tasks of {carrier} did not each succeed once: {done}")
            expected = self._expected[carrier]
            if view.output != expected or not expected.items() <= (view.context or {}).items():
                raise DemoFailed(f"{carrier} reports {view.output}, the file says {expected}")

    async def _count_rows(self) -> None:
        """Ask every tenant, in a run of its own, how many flights its table holds."""
        for carrier, expected in self._expected.items():
            run = await self._client.tenant(carrier).start("stored_flights")
            view = await run.result(timeout=ROUND_TIMEOUT)
            if view.output != expected["flights"]:
                raise DemoFailed(
                    f"the table of {carrier} holds {view.output} flights, the file has "
                    f"{expected['flights']}"
                )

    async def _start_again(self, names: list[str]) -> None:
        """Send every request again: each has to give the run that is there."""
        again = [await self._start(name) for name in names]
        for carrier in self._airlines:
            page = await self._client.tenant(carrier).runs(workflow="monthly_report")
            known = {playing.runs[carrier].id for playing in again}
            if {run.id for run in page.runs} != known or len(page.runs) != len(names):
                raise DemoFailed(f"{carrier} has {len(page.runs)} reports instead of {len(names)}")

    # -- what it looks like ------------------------------------------------------------------------

    def _say(self, text: str, word: str = "ok") -> None:
        self._console.print(f"[green]{word}[/] {text}", soft_wrap=True)

    def _progress(self, what: str) -> Progress:
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        progress.add_task(what, total=len(self._airlines))
        return progress

    def _table(self, views: Views) -> Table:
        table = Table(header_style="bold")
        table.add_column("airline", no_wrap=True)
        for title in ("flights", "cancelled", "mean delay", "worst"):
            table.add_column(title, justify="right")
        table.add_column("busiest route")
        table.add_column("seconds", justify="right")
        for carrier, view in sorted(views.items(), key=lambda item: -item[1].output["flights"]):
            table.add_row(self._airlines[carrier], *_cells(view.output), f"{_seconds(view):.2f}")
        return table


def main() -> int:
    """Run the demo and return the exit code."""
    console = Console(highlight=False)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    home = _new_home()
    daemon = Daemon(CONFIG, home)
    try:
        asyncio.run(_play(console, daemon))
    except (DemoFailed, InsulaError) as error:
        console.print(f"[red]the demo failed:[/] {error}", soft_wrap=True)
        console.print("the end of the daemon's log:", style="dim")
        console.print(daemon.log_tail(), markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; stopping the daemon")
        return 130
    finally:
        # What was started has to end, also when Ctrl-C is pressed again.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        daemon.stop()
        shutil.rmtree(home, ignore_errors=True)
    return 0


async def _play(console: Console, daemon: Daemon) -> None:
    async with Client(daemon.url) as client:
        await Demo(console, daemon, client).play()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat another wish to end as Ctrl-C."""
    del number, frame
    signal.raise_signal(signal.SIGINT)


def _new_home() -> Path:
    """Make the directory that everything goes to."""
    parent = tempfile.gettempdir()
    if len(os.fsencode(parent)) > LONGEST_TEMP:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a directory of a new name, for us alone
    home = Path(tempfile.mkdtemp(prefix="insula-demo-", dir=parent))
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root; its own user must be able to pass.
        home.chmod(0o711)
    return home


def _airlines() -> dict[str, str]:
    """Return the names of the airlines by carrier code, which is an alias of the tenant."""
    with AIRLINES.open(encoding="utf-8", newline="") as lines:
        return {row["carrier"]: row["name"] for row in csv.DictReader(lines)}


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [
        f"{figures['flights']}",
        f"{figures['cancelled']}",
        f"{figures['mean_dep_delay']:.4f}",
        f"{figures['worst_delay']}",
        f"{figures['busiest_route']}",
    ]


def _finished_at(view: RunView) -> datetime:
    return view.finished_at or datetime.min.replace(tzinfo=UTC)


def _seconds(view: RunView) -> float:
    return (_finished_at(view) - view.created_at).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
