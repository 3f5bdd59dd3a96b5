"""The command table, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from typer.main import get_command

from orchestrator.cli import (
    adoption,
    archives,
    control,
    dead,
    doctor,
    events,
    exports,
    lifecycle,
    maintenance,
    migration,
    moves,
    node,
    output,
    replay,
    runs,
    schedules,
    secrets,
    serve,
    statistics,
    tenants,
    usage,
)
from orchestrator.cli.exit import BROKEN_PIPE, DONE, INTERRUPTED, exit_code
from orchestrator.cli.groups import group, help_without_command
from orchestrator.model.errors import InsulaError
from orchestrator.model.version import version

Version = Annotated[bool, typer.Option("--version", help="Print the version and end.")]


def build() -> typer.Typer:
    """Return the application with all its commands."""
    app = group(
        "Insula: durable workflows for many tenants on PostgreSQL.",
        callback=_root,
        context_settings={"help_option_names": ["-h", "--help"]},  # the commands inherit it
    )
    serve.register(app)
    replay.register(app)
    doctor.register(app)
    migration.register(app)
    node.register(app)
    usage.register(app)
    for name, modules, purpose in (
        (
            "tenant",
            [
                tenants,
                lifecycle,
                moves,
                archives,
                exports,
                statistics,
                maintenance,
                secrets,
                adoption,
            ],
            "Create, list, change, pause and delete tenants.",
        ),
        ("run", [runs, events, control], "Start, show and follow runs, and do things to them."),
        ("dead", [dead], "See to the runs that failed for good."),
        ("schedule", [schedules], "See, pause and fire what starts runs by itself."),
    ):
        part = group(purpose)
        for module in modules:
            module.register(part)
        app.add_typer(part, name=name)
    return app


@cache
def commands() -> Any:
    """Return the tree of all commands; it takes a while to make and serves any number of calls."""
    return get_command(build())


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    >>> main(["run", "start"])
    2
    """
    command = commands()
    try:
        # Not command.main(): it would end the process by itself when a pipe breaks.
        with command.make_context("insula", list(arguments)) as context:
            code = command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except InsulaError as error:
        output.complain(error)
        return exit_code(error)
    except typer.TyperException as error:
        _complain_of_usage(error, as_json="--json" in arguments)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at its end; there it must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    return int(code or DONE)


def run() -> NoReturn:
    """Run the command line of this process; the entry point of `insula`."""
    sys.exit(main(sys.argv[1:]))


def _root(context: typer.Context, show_version: Version = False) -> None:
    if show_version:
        typer.echo(f"insula {version()}")
    else:
        help_without_command(context)


def _complain_of_usage(error: typer.TyperException, *, as_json: bool) -> None:
    context = getattr(error, "ctx", None)
    sentence = output.line(error.format_message())
    hint = f"{context.command_path} --help" if context is not None else ""
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(getattr(context, "command", None), "commands"):
        hint = f"options come after the command, as in: insula tenant list {option} …"
    if as_json:
        problem = {"code": "usage", "detail": sentence, "hint": hint, "data": {}}
        output.document({"error": problem})
    output.error("usage", sentence, hint=hint)
