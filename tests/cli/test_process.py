"""The command as a process: terminals, pipes and signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from uuid import UUID

import anyio

from tests.http.platform import HandMadePlatform
from tests.support.wait import until

Start = Callable[..., subprocess.Popen[bytes]]


def test_a_reader_that_goes_away_is_no_error_message(
    platform: HandMadePlatform, served: object, spawned: Start
) -> None:
    for number in range(3000):
        platform.add(f"tenant_{number}")
    read, write = os.pipe()
    os.close(read)

    command = spawned("tenant", "list", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    _, err = command.communicate(timeout=30)

    assert (command.returncode, err) == (141, b"")


def test_ctrl_c_ends_the_wait_but_not_the_run(
    platform: HandMadePlatform, served: object, spawned: Start
) -> None:
    command = spawned(
        *("run", "start", "acme_corp", "slow", "--wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    anyio.run(until, lambda: platform.looks)

    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=30)

    run = platform.runs[platform.resolve("acme_corp")][UUID(out.decode().strip())]
    assert (command.returncode, run.state) == (130, "running")
    assert err.decode() == f"the run goes on: insula run show acme_corp {run.id}\n"


def read_all(terminal: int) -> str:
    """Read what a command wrote to a terminal until it closed it."""
    parts: list[bytes] = []
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            part = b""
        if not part:
            return b"".join(parts).decode()
        parts.append(part)


def on_a_terminal(spawned: Start, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": ""}
    command = spawned(*arguments, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    return command, ours


def test_a_terminal_shows_the_progress_of_a_run(
    platform: HandMadePlatform, served: object, spawned: Start
) -> None:
    command, terminal = on_a_terminal(spawned, "run", "start", "acme_corp", "slow", "--wait")
    runs = platform.runs[platform.resolve("acme_corp")]
    seen = ""
    while "tasks 0/1 (load)" not in seen:
        seen += os.read(terminal, 65536).decode()

    platform.finish("acme_corp", next(iter(runs)), output="done")
    seen += read_all(terminal)
    os.close(terminal)

    assert command.wait(timeout=30) == 0
    assert '"output": "done"' in seen


def test_a_terminal_gets_a_table_with_colours(
    platform: HandMadePlatform, served: object, spawned: Start
) -> None:
    platform.add("globex", name="[red]not markup[/red]")

    command, terminal = on_a_terminal(spawned, "tenant", "list")
    seen = read_all(terminal)
    os.close(terminal)

    assert command.wait(timeout=30) == 0
    assert "\x1b[1m" in seen
    assert "[red]not markup[/red]" in seen


def test_commands_start_without_web_server_and_database() -> None:
    heavy = {"litestar", "uvicorn", "asyncpg"}
    program = f"import sys, orchestrator.cli.main; sys.exit(bool({heavy!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)

    assert done.returncode == 0
