"""`serve` and `check`: the commands that need no daemon."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys

import typer

from orchestrator.cli import output
from orchestrator.cli.connect import AsJson, Config
from orchestrator.cli.exit import CONFIGURATION, DONE
from orchestrator.model.errors import ConfigError
from orchestrator.settings.load import Snapshot, find_config, read


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("serve")(serve)
    app.command("check")(check)


def serve(config: Config = None) -> int:
    """Run the daemon in the foreground. It logs to stderr and drains at SIGTERM or Ctrl-C.

    Example: insula serve --config insula.toml
    """
    # A SIGHUP would end the process until the daemon listens, and to load it takes a while.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    # Only here: the other commands talk to a daemon and need neither web server nor database.
    daemon = importlib.import_module("orchestrator.daemon.main")
    code: int = daemon.serve(find_config(config))
    return code


def check(config: Config = None, as_json: AsJson = False) -> int:
    """Validate the configuration. Its workflows are imported too; every error has file and line.

    Example: insula check --config insula.toml
    """
    from orchestrator.workflow import named  # noqa: PLC0415 - no other command needs workflows

    reading = read(find_config(config), os.environ)
    with contextlib.redirect_stdout(sys.stderr):  # a module that prints must not spoil the JSON
        served, broken = named.load_each(reading.modules)
    problems = reading.problems + [str(error) for error in broken]
    if served is not None:
        problems += named.unfit(reading.workflows, served)
    workflows = sorted(served.latest) if served is not None else []
    snapshot = reading.snapshot
    if as_json:
        output.document(
            {
                "valid": not problems,
                "problems": problems,
                "files": snapshot.files if snapshot else [],
                "tenants": sorted(snapshot.tenants) if snapshot else [],
                "workflows": workflows,
            }
        )
    if problems:
        hint = next((error.hint for error in broken if error.hint), "")
        output.complain(ConfigError(problems, hint=hint))
        return CONFIGURATION
    if snapshot and not as_json:
        output.say(_summary(snapshot, workflows))
    return DONE


def _summary(snapshot: Snapshot, workflows: list[str]) -> str:
    source = snapshot.source or "no configuration file, so the built-in defaults"
    return (
        f"{source}: files {len(snapshot.files)}, tenants {len(snapshot.tenants)}, "
        f"workflows {len(workflows)}; no problems"
    )
