"""What people do to runs, through the command line, a real daemon and its embedded PostgreSQL."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from orchestrator.cli.main import main
from tests.daemon.process import BOOT_SECONDS, ROOT, Daemon
from tests.support.server import reachable_directory
from tests.support.wait import until

TENANTS = ("acme", "globex", "initech", "umbrella")


class CommandLine:
    """The command `insula` against one daemon."""

    def __init__(self, served: Daemon) -> None:
        self.served = served
        self.command = (sys.executable, "-m", "orchestrator")
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        names = ("INSULA_DATABASE_URL", "DATABASE_URL", "POSTGRESQL_URL", "INSULA_RUNTIME_DIR")
        self.environ = {name: value for name, value in environ.items() if name not in names}

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """Run a command that has to end with `code`; return what it wrote to stdout and stderr.

        In this process: starting one for each command would take most of the time.
        """
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with redirect_stdout(out), redirect_stderr(err):
            done = main([*arguments, "--config", str(self.served.config)])
        said, told = (each.buffer.getvalue().decode() for each in (out, err))
        assert done == code, told
        return said, told

    def json(self, *arguments: str, code: int = 0) -> Any:
        """Return the one document that a command prints."""
        return json.loads(self(*arguments, "--json", code=code)[0])

    def start(self, tenant: str, workflow: str, **input: str) -> str:
        """Start a run; return its id."""
        out, _ = self("run", "start", tenant, workflow, "--input", json.dumps(input))
        return str(UUID(out.strip()))

    def to_its_end(self, tenant: str, run: str) -> list[dict[str, Any]]:
        """Follow a run until it has finished; return its events."""
        out, _ = self("run", "events", tenant, run, "--follow", "--json")
        told = [json.loads(line) for line in out.splitlines()]
        assert [each["number"] for each in told] == list(range(len(told)))
        return [each["event"] for each in told]

    def dead(self, tenant: str) -> list[str]:
        """Return the dead letters, newest first."""
        return [run["id"] for run in self.json("dead", "list", tenant)["runs"]]


@pytest.fixture(scope="module")
def insula() -> Iterator[CommandLine]:
    """Serve the tenants for all tests of this file."""
    with reachable_directory() as directory:
        served = Daemon(directory)
        served.configure(TENANTS, modules="tests.daemon.flows")
        line = CommandLine(served)
        with served.stderr.open("wb") as stderr:
            process = subprocess.Popen(
                [*line.command, "serve", "--config", str(served.config)],
                cwd=directory,
                env=line.environ,
                stdin=subprocess.DEVNULL,
                stderr=stderr,
            )

        def settled() -> bool:
            return bool(served.events("daemon.ready")) or process.poll() is not None

        try:
            anyio.run(partial(until, settled, within=BOOT_SECONDS))
            assert process.poll() is None, served.text()
            yield line
        finally:
            process.terminate()
            code = process.wait(40)
    assert code == 0


@pytest.fixture
def harbour(insula: CommandLine) -> Path:
    """Return a file that is not there yet."""
    return insula.served.directory / f"harbour-{uuid4().hex}"


def names(events: list[dict[str, Any]], task: str | None = None) -> list[str]:
    """Return what happened, or what happened to one task."""
    return [each["event"] for each in events if task is None or each.get("task") == task]


def test_a_run_that_waits_for_a_signal_takes_it_once(insula: CommandLine) -> None:
    run = insula.start("acme", "approval")
    signal = ("run", "signal", "acme", run, "approved", "--data", '{"by": "ann"}', "--key", "k")

    insula(*signal)
    events = insula.to_its_end("acme", run)
    _, refused = insula(*signal, code=1)

    assert names(events)[-1] == "run.succeeded"
    assert names(events).count("signal.taken") == 1
    assert insula.json("run", "show", "acme", run)["output"] == {"by": "ann"}
    assert refused.startswith(f"error[run_conflict]: run {run} has finished")
    _, unknown = insula("run", "signal", "acme", str(uuid4()), "approved", code=3)
    assert unknown.startswith("error[run_not_found]: ")


def test_a_cancelled_run_stays_cancelled(insula: CommandLine) -> None:
    run = insula.start("acme", "approval")

    assert insula("run", "cancel", "acme", run, "--reason", "too late")[0] == "cancelled\n"
    events = insula.to_its_end("acme", run)

    assert events[-1] == {"event": "run.cancelled", "reason": "too late"}
    assert insula("run", "cancel", "acme", run)[0] == "cancelled\n"
    for verb in ("pause", "resume", "retry"):
        assert "error[run_conflict]" in insula("run", verb, "acme", run, code=1)[1]
    assert insula.json("run", "show", "acme", run)["state"] == "cancelled"


def test_a_paused_run_starts_nothing_until_it_is_resumed(insula: CommandLine) -> None:
    arrived, leave = (insula.served.directory / name for name in ("arrived", "leave"))
    run = insula.start("acme", "relay", arrived=str(arrived), leave=str(leave))
    anyio.run(until, arrived.exists)

    assert "under way" in insula("run", "pause", "acme", run, "--reason", "audit")[1]
    leave.touch()
    anyio.run(until, lambda: insula.json("run", "show", "acme", run)["state"] == "paused")
    assert "reason    audit\n" in insula("run", "show", "acme", run)[0]
    out, _ = insula("run", "start", "acme", "delivery", "--input", '{"harbour": "/"}', "--wait")
    view = insula.json("run", "show", "acme", run)

    assert "shipped a parcel" in out
    assert {task["name"]: task["state"] for task in view["tasks"]}["run_last"] == "waiting"
    insula("run", "resume", "acme", run)
    assert names(insula.to_its_end("acme", run), "run_last") == ["task.started", "task.succeeded"]


def test_a_paused_workflow_starts_nothing_until_it_is_resumed(insula: CommandLine) -> None:
    insula("tenant", "pause", "globex", "--workflow", "approval")
    run = insula.start("globex", "approval")
    insula("run", "start", "globex", "delivery", "--input", '{"harbour": "/"}', "--wait")
    insula("run", "signal", "globex", run, "approved")

    assert insula.json("run", "show", "globex", run)["state"] == "queued"
    insula("tenant", "pause", "globex")
    insula("tenant", "resume", "globex", "--workflow", "approval")
    assert insula.json("run", "events", "globex", run) == {"events": []}
    insula("tenant", "resume", "globex")
    assert names(insula.to_its_end("globex", run))[-1] == "run.succeeded"
    _, unknown = insula("tenant", "pause", "globex", "--workflow", "aproval", code=3)
    assert "error[workflow_not_found]" in unknown
    newest, *_, oldest = insula.json("tenant", "audit", "globex", "--limit", "5")["entries"]
    assert (newest["operation"], newest["subject"]) == ("tenant.pause", "aproval")
    assert (newest["outcome"], newest["actor"]) == ("workflow_not_found", f"uid {os.geteuid()}")
    assert (oldest["operation"], oldest["outcome"]) == ("tenant.pause", "done")


def test_a_failed_run_goes_on_where_it_failed(insula: CommandLine, harbour: Path) -> None:
    run = insula.start("initech", "delivery", harbour=str(harbour))
    assert names(insula.to_its_end("initech", run))[-1] == "run.failed"
    harbour.touch()

    insula("run", "retry", "initech", run)
    events = insula.to_its_end("initech", run)

    assert names(events, "pack") == ["task.started", "task.succeeded"]
    assert names(events, "ship")[-1] == "task.succeeded"
    assert names(events)[-1] == "run.succeeded"
    _, refused = insula("run", "retry", "initech", run, code=1)
    assert "only a failed or dead run can be retried" in refused


def test_a_run_is_repeated_as_a_whole_or_from_a_task(insula: CommandLine, harbour: Path) -> None:
    run = insula.start("initech", "delivery", harbour=str(harbour))
    insula.to_its_end("initech", run)
    harbour.touch()

    whole = insula("run", "repeat", "initech", run)[0].strip()
    part = insula("run", "repeat", "initech", run, "--from", "ship")[0].strip()

    assert names(insula.to_its_end("initech", whole), "pack") == ["task.started", "task.succeeded"]
    events = insula.to_its_end("initech", part)
    assert names(events, "pack") == ["task.succeeded"]
    assert events[0]["origin"] == run
    assert insula.json("run", "show", "initech", part)["state"] == "succeeded"
    assert insula.json("run", "show", "initech", run)["state"] == "failed"
    _, unknown = insula("run", "repeat", "initech", run, "--from", "sail", code=1)
    assert "has no task 'sail'" in unknown


def test_dead_letters_are_replayed_or_given_up(insula: CommandLine, harbour: Path) -> None:
    runs = [insula.start("umbrella", "delivery", harbour=str(harbour)) for _ in range(3)]
    for run in runs:
        insula.to_its_end("umbrella", run)
    first, second, third = runs

    assert insula.dead("umbrella") == [third, second, first]
    assert "the harbour is closed" in insula("dead", "show", "umbrella", first)[0]
    discarded = insula.json("dead", "discard", "umbrella", first)
    assert (discarded["done"], discarded["left"]) == ([first], 2)
    assert insula.dead("umbrella") == [third, second]
    assert insula.json("run", "show", "umbrella", first)["state"] == "failed"

    insula("run", "retry", "umbrella", first)
    assert names(insula.to_its_end("umbrella", first)).count("run.failed") == 2
    assert insula.dead("umbrella") == [third, second, first]

    harbour.touch()
    report = insula.json("dead", "replay", "umbrella", second, str(UUID(int=7)), code=1)
    assert (report["done"], [each["code"] for each in report["refused"]]) == (
        [second],
        ["run_not_found"],
    )
    assert insula.json("dead", "replay", "umbrella", "--all")["done"] == [first, third]
    for run in runs:
        assert names(insula.to_its_end("umbrella", run))[-1] == "run.succeeded"
    assert insula.json("dead", "discard", "umbrella", "--all") == {
        "done": [],
        "refused": [],
        "left": 0,
    }


def test_a_start_is_put_off_and_has_to_end_in_time(insula: CommandLine) -> None:
    later = insula("run", "start", "acme", "approval", "--delay", "1h")[0].strip()
    bounded = insula("run", "start", "acme", "approval", "--deadline", "100ms")[0].strip()

    assert names(insula.to_its_end("acme", bounded))[-1] == "run.failed"
    assert insula.json("run", "show", "acme", later)["state"] == "queued"
    insula("run", "cancel", "acme", later)


def test_a_broken_configuration_neither_hides_the_daemon_nor_reaches_it(
    insula: CommandLine,
) -> None:
    whole = insula.served.config.read_text(encoding="utf-8")
    insula.served.config.write_text(f"{whole}[tenants.x\n", encoding="utf-8")
    try:
        document = insula.json("status")
        _, err = insula("reload", "--wait", code=1)
    finally:
        insula.served.config.write_text(whole, encoding="utf-8")

    assert document["tenants"] == len(TENANTS)
    assert err.startswith("warning: ")
    assert "error[config_invalid]" in err
    assert insula.json("reload", "--wait")["applied"] is True
