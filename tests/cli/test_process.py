"""The command as a process: terminals, pipes and signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import anyio
import pytest

import orchestrator
from orchestrator.cli.main import commands
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


@pytest.mark.parametrize("loaded", ["typer", "httpx"])
def test_ctrl_c_while_python_loads_ends_without_a_traceback(
    loaded: str, tmp_path: Path, spawned: Start
) -> None:
    # The command's directory comes first on the path, so this is what it loads.
    slow = "import sys, time\nprint('loading', flush=True)\ntime.sleep(60)\n"
    (tmp_path / f"{loaded}.py").write_text(slow)
    command = spawned("tenant", "list", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout is not None
    assert command.stdout.readline() == b"loading\n"

    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=30)

    assert (command.returncode, err) == (130, b"")


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that are loaded when a command has run."""
    program = (
        "import sys; from orchestrator.cli.main import main; main(sys.argv[1:]);"
        " print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, timeout=30, check=True
    )
    return set(done.stderr.decode().split())


SERVERS = {"asyncpg", "litestar", "orchestrator.store", "redis", "urllib3", "uvicorn", "uvloop"}
OTHERS = {"orchestrator.workflow", "structlog"}
CLIENTS = {"anyio", "httpx", "orchestrator.client", "rich", "ssl", "tenacity"}


def test_help_loads_no_client_and_nothing_that_draws() -> None:
    # What `insula --help` shows of `run` comes with the client's requests, which load none either.
    loaded = loaded_by("run", "--help")

    assert not loaded & (SERVERS | OTHERS | CLIENTS - {"orchestrator.client"})


def test_a_command_loads_what_it_needs_and_no_other_command(served: object) -> None:
    loaded = loaded_by("tenant", "list")

    assert not loaded & (SERVERS | OTHERS)
    assert "httpx" in loaded
    assert not loaded & {
        "orchestrator.cli.run.start",
        "orchestrator.cli.doctor",
        "orchestrator.cli.bar",
    }


def test_each_part_of_the_commands_is_as_it_is_in_the_whole() -> None:
    whole = commands().commands

    for name, command in whole.items():
        alone = commands(name).commands
        assert set(alone) <= set(whole), name
        assert set(getattr(alone[name], "commands", ())) == set(getattr(command, "commands", ()))


def test_the_names_for_users_are_there_when_they_are_used() -> None:
    assert {getattr(orchestrator, name).__name__ for name in orchestrator.__all__} == {
        *orchestrator.__all__
    }
    assert set(orchestrator.__all__) <= set(dir(orchestrator))
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        orchestrator.Cleint  # type: ignore[attr-defined]  # noqa: B018
