"""`replay`: recorded histories against the code of today; those in files need no daemon."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import output, values
from orchestrator.cli.connect import Door, daemon_command, describe
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.model.errors import InvalidRequest, RunNotFound, WorkflowNotFound
from orchestrator.settings.load import find_config, load

if TYPE_CHECKING:
    from orchestrator.client.sync import SyncTenantClient
    from orchestrator.workflow.registry import Registry

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|RUN",
        help="Files that `run events --json` printed, one run each; with --tenant ids of runs.",
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(
        metavar="TENANT", help="Ask the daemon for runs of this tenant; without it, read files."
    ),
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
    daemon_command(app, "replay")(replay)


def replay(
    door: Door,
    sources: Sources,
    tenant: Tenant = None,
    module: Module = None,
    input: Input = None,
) -> int:
    """Run recorded histories against the code of today. Exits 1 if any goes another way.

    Only the code between durable calls is run; each call is answered from the history.

    Example: insula replay --module shop.orders histories/*.jsonl
    """
    given = None if input is None else values.read_input(input)
    served = _served(door.config, module)
    # Only here: the engine knows the driver, which what talks to a daemon need not load.
    engine = importlib.import_module("orchestrator.engine.replay")
    with ExitStack() as stack:
        read = _from_file
        if tenant is not None:
            runs = stack.enter_context(door.open()).tenant(tenant)
            read = partial(_from_daemon, runs)
        checked = [
            {"source": source} | _check(engine, partial(read, engine, source), served, given)
            for source in sources
        ]
    return _report(door, checked)


def _report(door: Door, checked: list[dict[str, Any]]) -> int:
    compatible = all(each["compatible"] for each in checked)
    if door.json:
        output.document({"compatible": compatible, "histories": checked})
    else:
        _print(checked)
    return DONE if compatible else FAILED


def _served(config: Path | None, modules: list[str] | None) -> Registry:
    from orchestrator.workflow import registry  # noqa: PLC0415 - no other command needs workflows

    if not modules:
        snapshot = load(find_config(config), os.environ)
        modules = snapshot.settings.workflows.modules
    return registry.load(modules)


def _from_file(engine: Any, file: str) -> Any:
    return engine.History.read(Path(file))


def _from_daemon(runs: SyncTenantClient, engine: Any, run: str) -> Any:
    handle = runs.handle(run)
    return engine.History(list(handle.events()), handle.view())


def _check(
    engine: Any, read: Callable[[], Any], served: Registry, given: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what a replay of one history found, or why there was none."""
    import anyio  # noqa: PLC0415 - nor an event loop

    try:
        history = read()
        workflow = engine.workflow_of(history, served)
        result = anyio.run(lambda: engine.replay(history, workflow, input=given))
    except (InvalidRequest, RunNotFound, WorkflowNotFound) as error:
        return {"compatible": False, "error": describe(error)}
    return {
        "compatible": result.compatible,
        "workflow": result.workflow,
        "version": result.version,
        "divergence": result.divergence,
        "sentence": str(result.divergence) if result.divergence else None,
        "tasks": result.tasks,
    }


def _print(checked: list[dict[str, Any]]) -> None:
    rows = [(each["source"], each.get("workflow"), _verdict(each)) for each in checked]
    output.table(["history", "workflow", "verdict"], rows)
    for each in checked:
        for task in each.get("tasks", ()):
            if task.note:
                output.say(f"{each['source']}: task {task.task}: {output.line(task.note)}")
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
