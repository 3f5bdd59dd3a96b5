"""`replay`: recorded histories against the code of today; it needs no daemon."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from orchestrator.cli import output, values
from orchestrator.cli.connect import AsJson, Config, describe
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.model.errors import InsulaError
from orchestrator.settings.load import find_config, load
from orchestrator.workflow import registry
from orchestrator.workflow.registry import Registry

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="What `run events --json` printed, one run each."),
]
Module = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE",
        help="Where the workflows are: package.module, or package.module:workflow. "
        "[default: the configuration's]",
    ),
]
Input = Annotated[
    str | None,
    typer.Option(metavar="JSON|@FILE|-", help="The runs' input, where a file does not hold it."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("replay")(replay)


def replay(
    files: Files,
    config: Config = None,
    module: Module = None,
    input: Input = None,
    as_json: AsJson = False,
) -> int:
    """Run recorded histories against the code of today. Exits 1 if any goes another way.

    Only the code between durable calls is run; each call is answered from the history.

    Example: insula replay --module shop.orders histories/*.jsonl
    """
    given = None if input is None else values.read_input(input)
    served = _served(config, module)
    checked = [_check(file, served, given) for file in files]
    if as_json:
        output.document(
            {"compatible": all(each["compatible"] for each in checked), "files": checked}
        )
    else:
        _print(checked)
    return DONE if all(each["compatible"] for each in checked) else FAILED


def _served(config: Path | None, modules: list[str] | None) -> Registry:
    if not modules:
        snapshot = load(find_config(config, Path.cwd()), os.environ)
        modules = snapshot.settings.workflows.modules
    return registry.load(modules)


def _check(file: Path, served: Registry, given: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a replay of one file found, or why there was none."""
    # Only here: the engine knows the driver, which what talks to a daemon need not load.
    engine = importlib.import_module("orchestrator.engine.replay")
    found: dict[str, Any] = {"file": str(file), "compatible": False}
    try:
        history = engine.History.read(file)
        workflow = engine.workflow_of(history, served)
        result = anyio.run(lambda: engine.replay(history, workflow, input=given))
    except InsulaError as error:
        return {**found, "error": describe(error)}
    return {
        "file": str(file),
        "compatible": result.compatible,
        "workflow": result.workflow,
        "version": result.version,
        "divergence": result.divergence,
        "sentence": str(result.divergence) if result.divergence else None,
        "tasks": result.tasks,
    }


def _print(checked: list[dict[str, Any]]) -> None:
    rows = [(each["file"], each.get("workflow"), _verdict(each)) for each in checked]
    output.table(["file", "workflow", "verdict"], rows)
    for each in checked:
        for task in each.get("tasks", ()):
            if task.note:
                output.say(f"{each['file']}: task {task.task}: {output.line(task.note)}")
    other = sum(not each["compatible"] for each in checked)
    if other:
        output.say(f"{other} of {len(checked)} can not be continued by this code")


def _verdict(found: dict[str, Any]) -> str:
    if "error" in found:
        error = found["error"]
        return f"{error['code']}: {error['detail']}" + (
            f" ({error['hint']})" if error["hint"] else ""
        )
    return "compatible" if found["compatible"] else str(found["sentence"])
