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
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich import box
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
LOOK = 0.1
"""Seconds between two looks at the runs."""

LONGEST_TEMP = 40
"""A unix socket's path has at most 107 bytes; below a longer directory ours might not fit."""


TITLES = ("airline", "flights", "cancelled", "mean delay", "worst", "busiest route", "seconds")
WIDE = 96
"""Columns of a terminal that hold the titles in one line."""


class DemoFailed(Exception):
    """Something is not as it has to be; the message says what."""


Runs = Mapping[str, RunHandle]
Views = Mapping[str, RunView]
"""What was started and what became of it, by carrier code."""


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
        await self._serve("serving")
        with self._progress("16 airlines, one month") as progress:
            runs = await self._start("first", self._airlines)
            views = await self._finish(runs, progress)
        self._check(views)
        self._console.print(self._table(views))
        await self._survive_a_kill()
        await self._count_rows()
        await self._start_again()
        self._say(
            "nothing was counted twice: every table holds the flights of the file, every task "
            "succeeded once, a known key started nothing"
        )
        await self._stop()

    # -- the first round ---------------------------------------------------------------------------

    async def _serve(self, word: str) -> None:
        """Start the daemon and return when it is ready."""
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
                version = status.database_version.split()[0]
                self._say(
                    f"{word} {status.tenants} tenants on PostgreSQL {version} "
                    f"after {time.monotonic() - began:.1f} s"
                )
                return
        raise DemoFailed(f"the daemon was not ready within {START_TIMEOUT:.0f} s")

    async def _start(self, name: str, carriers: Iterable[str]) -> Runs:
        """Start a run for each airline; the same name again gives the same runs."""
        carriers = list(carriers)
        runs = await asyncio.gather(
            *(
                self._client.tenant(carrier).start(
                    "monthly_report", {"file": str(MONTH)}, key=f"{MONTH.name} {name}"
                )
                for carrier in carriers
            )
        )
        return dict(zip(carriers, runs, strict=True))

    async def _finish(self, runs: Runs, progress: Progress) -> Views:
        """Return the runs when all have finished."""
        return await self._until_finished(len(runs), runs, progress)

    async def _until_finished(self, enough: int, runs: Runs, progress: Progress) -> Views:
        """Return the runs when so many have finished."""
        deadline = time.monotonic() + ROUND_TIMEOUT
        while time.monotonic() < deadline:
            views = await asyncio.gather(*(run.view() for run in runs.values()))
            finished = sum(view.state.finished for view in views)
            progress.update(progress.task_ids[0], completed=finished)
            if finished >= enough:
                return dict(zip(runs, views, strict=True))
            await asyncio.sleep(LOOK)
        raise DemoFailed(f"the runs have not finished within {ROUND_TIMEOUT:.0f} s")

    # -- the second --------------------------------------------------------------------------------

    async def _survive_a_kill(self) -> None:
        """Kill the daemon with some runs finished and some under way, and start it again."""
        with self._progress("once more, and SIGKILL") as progress:
            runs = await self._second_round_under_way(progress)
            self._daemon.kill()
            killed_at = datetime.now(UTC)
            began = time.monotonic()
            await self._serve("killed; serving again")
            views = await self._finish(runs, progress)
        took = time.monotonic() - began
        self._check(views)
        under_way = sum(_finished_at(view) > killed_at for view in views.values())
        if not 0 < under_way < len(views):
            raise DemoFailed(f"{under_way} of {len(views)} runs were under way at the kill")
        again = sum(task.attempt > 1 for view in views.values() for task in view.tasks)
        self._say(
            f"SIGKILL with {under_way} of {len(views)} runs under way; {took:.1f} s after the "
            f"restart all had finished; {again} interrupted tasks ran again",
            "recovered:",
        )

    async def _second_round_under_way(self, progress: Progress) -> Runs:
        """Return a round of which some runs have finished and others are in their first task."""
        carriers = list(self._airlines)
        half = len(carriers) // 2
        early = await self._start("second", carriers[:half])
        await self._until_finished(1, early, progress)
        late = await self._start("second", carriers[half:])
        async with asyncio.timeout(ROUND_TIMEOUT):
            while True:
                if (await self._client.status()).running_tasks:
                    return {**early, **late}

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

    async def _start_again(self) -> None:
        """Send every request again: each has to give the run that is there."""
        first = await self._start("first", self._airlines)
        second = await self._start("second", self._airlines)
        for carrier in self._airlines:
            page = await self._client.tenant(carrier).runs(workflow="monthly_report")
            if [run.id for run in page.runs] != [second[carrier].id, first[carrier].id]:
                raise DemoFailed(f"{carrier} has {len(page.runs)} reports instead of 2")

    async def _stop(self) -> None:
        """Let the daemon end as on SIGTERM from systemd."""
        began = time.monotonic()
        code = await asyncio.to_thread(self._daemon.stop)
        if code != 0:
            raise DemoFailed(f"the daemon did not stop in order after SIGTERM: exit code {code}")
        self._say(f"stopped within {time.monotonic() - began:.1f} s")

    # -- what it looks like ------------------------------------------------------------------------

    def _say(self, text: str, word: str = "ok:") -> None:
        self._console.print(f"[green]{word}[/] {text}", soft_wrap=True)

    def _progress(self, what: str) -> Progress:
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        progress.add_task(what, total=len(self._airlines))
        return progress

    def _table(self, views: Views) -> Table:
        narrow = self._console.width < WIDE
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
        for title in TITLES:
            table.add_column(
                title.replace(" ", "\n") if narrow else f" {title}",
                justify="left" if title in {"airline", "busiest route"} else "right",
                no_wrap=True,
            )
        for carrier, view in sorted(views.items(), key=lambda item: -item[1].output["flights"]):
            table.add_row(
                f"{carrier}  {self._airlines[carrier]}",
                *_cells(view.output),
                f"{_seconds(view):.2f}",
            )
        return table


def main() -> int:
    """Run the demo and return the exit code."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDE)
    # A shell starts background jobs with SIGINT ignored, and SIGTERM has to work there too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    home = _new_home()
    daemon = Daemon(CONFIG, home)
    try:
        asyncio.run(_play(console, daemon))
    except (DemoFailed, InsulaError, TimeoutError) as error:
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
