"""`serve` and `check`: the commands that need no daemon."""

from __future__ import annotations

import importlib
import os
import signal
from pathlib import Path

import typer

from orchestrator.cli import output
from orchestrator.cli.connect import AsJson, Config
from orchestrator.cli.exit import CONFIGURATION, DONE
from orchestrator.model.errors import ConfigError, DefinitionError
from orchestrator.settings.load import Snapshot, find_config, load
from orchestrator.workflow import registry
from orchestrator.workflow.scheduled import unfit


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
    code: int = daemon.serve(config)
    return code


def check(config: Config = None, as_json: AsJson = False) -> int:
    """Validate the configuration. Its workflows are imported too; every error has file and line.

    Example: insula check --config insula.toml
    """
    snapshot: Snapshot | None = None
    problems: list[str] = []
    workflows: list[str] = []
    try:
        snapshot = load(find_config(config, Path.cwd()), os.environ)
        workflows = _workflows(snapshot, problems)
    except ConfigError as error:
        problems = error.problems
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
        output.complain(ConfigError(problems))
        return CONFIGURATION
    if snapshot and not as_json:
        output.say(_summary(snapshot, workflows))
    return DONE


def _workflows(snapshot: Snapshot, problems: list[str]) -> list[str]:
    modules = snapshot.settings.workflows.modules
    for module in modules:
        # One by one, so that a broken module does not hide what is wrong with the next.
        try:
            registry.load([module])
        except DefinitionError as error:
            problems.append(str(error))
    if problems:
        return []
    try:
        served = registry.load(modules)
    except DefinitionError as error:
        problems.append(str(error))
        return []
    problems.extend(unfit(snapshot.scheduled, served))
    return sorted(served.latest)


def _summary(snapshot: Snapshot, workflows: list[str]) -> str:
    source = snapshot.source or "no configuration file, so the built-in defaults"
    return (
        f"{source}: files {len(snapshot.files)}, tenants {len(snapshot.tenants)}, "
        f"workflows {len(workflows)}; no problems"
    )
