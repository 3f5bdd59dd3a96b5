"""The command table, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple

import typer
from typer.completion import shell_complete
from typer.main import get_command

from orchestrator.cli import output
from orchestrator.cli.exit import BROKEN_PIPE, DONE, INTERRUPTED, exit_code
from orchestrator.cli.groups import Sections, group, help_without_command
from orchestrator.model.errors import InsulaError
from orchestrator.model.version import version

Version = Annotated[bool, typer.Option("--version", help="Print the version and end.")]


COMMANDS: Mapping[str, Sequence[str]] = {
    "serve": ["serve", "check"],
    "replay": ["replay"],
    "doctor": ["doctor"],
    "migrate": ["migrate"],
    "node": ["status", "reload"],
    "usage": ["usage"],
}
"""The modules of `orchestrator.cli` with commands that are in no group, and their names."""


COMPLETION = "_INSULA_COMPLETE"
"""Set by a shell in which `--install-completion` was done, to ask what may follow."""


class Part(NamedTuple):
    """A group: what it is for, the modules with its commands, and how its help lists those."""

    purpose: str
    modules: Sequence[str]
    sections: Sections


GROUPS: Mapping[str, Part] = {
    "tenant": Part(
        "Create, see, change, stop, copy, move and delete tenants.",
        [
            "tenant.list",
            "tenant.show",
            "tenant.lifecycle",
            "tenant.pause",
            "tenant.move",
            "tenant.archives",
            "tenant.export",
            "tenant.stats",
            "tenant.maintain",
            "tenant.secrets",
            "tenant.adopt",
            "tenant.token",
        ],
        {
            "See": ["list", "show", "why", "stats", "audit"],
            "Make and change": ["create", "update", "rename", "adopt", "move", "maintain"],
            "Stop and go on": ["pause", "resume", "disable", "enable"],
            "Copy and put away": [
                *("backup", "restore", "clone", "export", "import", "archive", "unarchive"),
            ],
            "Delete": ["delete", "erase"],
            "Secrets, logins, tokens": [
                *("secret", "token", "credentials", "rotate-credentials", "rotate-key"),
            ],
        },
    ),
    "run": Part(
        "Start, show and follow runs, and do things to them.",
        ["run.start", "run.show", "run.events", "run.control"],
        {
            "Start and see": ["start", "list", "show", "events"],
            "Change": ["signal", "pause", "resume", "cancel", "retry", "repeat"],
        },
    ),
    "dead": Part(
        "See to the runs that failed for good.",
        ["dead"],
        {"Commands": ["list", "show", "replay", "discard"]},
    ),
    "token": Part(
        "Make, list and revoke tokens for the API over TCP.",
        ["token"],
        {"Commands": ["create", "list", "revoke"]},
    ),
    "schedule": Part(
        "See, pause and fire what starts runs by itself.",
        ["schedule"],
        {"Commands": ["list", "pause", "resume", "fire"]},
    ),
}

SECTIONS: Sections = {
    "The daemon": ["serve", "check", "reload", "status", "doctor"],
    "Tenants and their work": ["tenant", "run", "schedule", "dead", "usage", "migrate"],
    "More": ["token", "replay"],
}
"""How the help of `insula` itself lists all of them."""


def build(only: str | None = None) -> typer.Typer:
    """Return the application with all its commands, or with the part that `only` names."""
    app = group(
        "Insula: durable workflows for many tenants on PostgreSQL.",
        SECTIONS,
        callback=_root,
        completion=True,
        context_settings={"help_option_names": ["-h", "--help"]},  # the commands inherit it
    )
    for module, names in COMMANDS.items():
        if only is None or only in names:
            _register(module, app)
    for name, part in GROUPS.items():
        if only is None or only == name:
            made = group(part.purpose, part.sections)
            for module in part.modules:
                _register(module, made)
            app.add_typer(made, name=name)
    return app


def _register(module: str, app: typer.Typer) -> None:
    """Load a module and add its commands to `app`: most of the start is loading."""
    importlib.import_module(f"orchestrator.cli.{module}").register(app)


@cache
def commands(only: str | None = None) -> Any:
    """Return the tree of all commands, or of the part that `only` names; it serves any calls."""
    return get_command(build(only))


def _part(arguments: Sequence[str]) -> str | None:
    """Return the part of the tree that a command line asks for, None for all of it.

    >>> _part(["tenant", "list"]), _part(["--help"])
    ('tenant', None)
    """
    first = arguments[0] if arguments else ""
    known = first in GROUPS or any(first in names for names in COMMANDS.values())
    return first if known else None


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    >>> main(["run", "start"])
    2
    """
    asked = os.environ.get(COMPLETION)
    return _complete(asked) if asked else _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        command = commands(_part(arguments))
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


def _complete(asked: str) -> int:
    """Print what may follow a command line, for a shell; the part that it is in is enough."""
    # Where bash has the line, and where the others have it.
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return shell_complete(commands(_part(line.split()[1:])), {}, "insula", COMPLETION, asked)


def _root(context: typer.Context, show_version: Version = False) -> None:
    if show_version:
        typer.echo(f"insula {version()}")
    else:
        help_without_command(context)


def _complain_of_usage(error: typer.TyperException, *, as_json: bool) -> None:
    context = getattr(error, "ctx", None)
    # The types of the options are checked by a library that begins what it says with its own words.
    sentence = output.line(error.format_message()).replace(": Value error, ", ": ", 1)
    hint = f"{context.command_path} --help" if context is not None else ""
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(getattr(context, "command", None), "commands"):
        hint = f"options come after the command, as in: insula tenant list {option} …"
    if as_json:
        problem = {"code": "usage", "detail": sentence, "hint": hint, "data": {}}
        output.document({"error": problem})
    output.error("usage", sentence, hint=hint)
