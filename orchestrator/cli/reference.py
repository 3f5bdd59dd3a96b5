"""Writes the reference pages of commands and errors: python -m orchestrator.cli.reference cli."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Set
from typing import Any

from orchestrator.cli.exit import EXIT, MEANING
from orchestrator.cli.main import commands
from orchestrator.http.status import STATUS
from orchestrator.model.errors import InsulaError

_CLI = """\
# Command line

<!-- Written by `make docs` from orchestrator/cli; edits here are lost. -->

Results go to stdout, everything for people to stderr. A table is drawn on a terminal and has plain
aligned columns elsewhere; `--json` prints exactly one JSON document instead, also for an error:
`{"error": {"code": …, "detail": …, "hint": …, "data": …}}`. Only `run events --follow --json`
prints one for each event, as a line of its own.

`insula --install-completion` has your shell complete commands and options from then on.

An error is a line `error[code]: sentence` on stderr, and a line `hint: …` when something can be
done about it. The codes are listed in [Errors](errors.md). The exit code tells a script what kind
it was:

| exit code | meaning |
|---|---|
"""

_DOOR = """
## Reaching the daemon

Every command but `serve` and `check`, and `replay` of files, talks to the daemon over its control
socket. It is found as `serve` finds it, by the configuration that `--config` names (or
`./config/insula.toml`, or the defaults); with `--socket` or `--url` that is not read. A
configuration that is broken is read as far as it tells `node.runtime_dir`, with a warning, since
the daemon still serves the last whole one; tenants and included files are not looked at. The
socket belongs to the daemon's user and group, mode 0660: who may open it may do everything. Over
`--url` a token says what: it is read from the variable `INSULA_TOKEN` or from a file, never given
as an argument, since every user of the machine may list those. All these commands take:

| option | meaning |
|---|---|
"""

_ERRORS = """\
# Errors

<!-- Written by `make docs` from orchestrator/model/errors.py, orchestrator/http/status.py and
     orchestrator/cli/exit.py; edits here are lost. -->

Every error has a code that stays the same, a sentence, often a hint, and data. Over HTTP it is a
problem document with the status below, on the command line a line `error[code]: …` and the exit
code below, in Python a class of `orchestrator.model.errors`, which the clients raise as the daemon
did. Statuses 429 and 503 come with `Retry-After`.

| code | class | HTTP status | exit code | meaning |
|---|---|---|---|---|
"""

_MORE = """
Two codes have no class: `usage` (exit code 2: the command line is wrong) and `run_failed` (exit
code 1: the run that `insula run start --wait` waited for has failed). Over HTTP `request_invalid`
also stands for a route that does not exist (404, 405) and for a body that is too long (413).
"""


def cli_page() -> str:
    """Return the page of the commands."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in MEANING.items())
    root: Any = commands()
    shared = {option.name: option for option in root.commands["status"].params}
    options = "".join(f"| {_spelling(each)} | {_meaning(each)} |\n" for each in shared.values())
    sections = _commands(root, "insula", shared.keys() - {"config"})
    return _CLI + codes + _DOOR + options + "\n".join(sections) + "\n"


def errors_page() -> str:
    """Return the page of the errors."""
    return _ERRORS + "".join(_errors(InsulaError, 0)) + _MORE


def _commands(command: Any, path: str, shared: Set[str]) -> Iterator[str]:
    children = getattr(command, "commands", {})
    for name, child in children.items():
        yield from _commands(child, f"{path} {name}", shared)
    if children:
        return
    usage = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    yield f"\n## `{' '.join([path, *usage])}`\n"
    purpose, _, example = command.help.partition("\n\nExample: ")
    yield " ".join(purpose.split())
    yield f"\n```\n{' '.join(example.split())}\n```"
    talks = shared <= {each.name for each in command.params}
    own = [each for each in command.params if not (talks and each.name in {*shared, "config"})]
    if own:
        yield "\n| argument | meaning |\n|---|---|"
    for parameter in own:
        yield f"| {_spelling(parameter)} | {_meaning(parameter)} |"


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    value = parameter.metavar or ("" if parameter.is_flag else parameter.name.upper())
    return f"`{' '.join([parameter.opts[0], value]).strip()}`".replace("|", r"\|")


def _argument(parameter: Any) -> str:
    several = f"{parameter.metavar} …" if parameter.nargs != 1 else str(parameter.metavar)
    return several if parameter.required or parameter.nargs == 1 else f"[{several}]"


def _meaning(parameter: Any) -> str:
    default = parameter.default  # nothing, no, none of them and "" go without saying
    return f"{parameter.help} Default: `{default}`." if default else str(parameter.help)


def _errors(error: type[InsulaError], depth: int) -> Iterator[str]:
    meaning = " ".join((error.__doc__ or "").split())
    name = "&nbsp;&nbsp;" * depth + error.__name__
    yield f"| `{error.code}` | {name} | {STATUS[error]} | {EXIT[error]} | {meaning} |\n"
    for child in error.__subclasses__():
        # One drawn elsewhere is private to that place.
        if child.__module__ == InsulaError.__module__:
            yield from _errors(child, depth + 1)


if __name__ == "__main__":
    sys.stdout.write({"cli": cli_page, "errors": errors_page}[sys.argv[1]]())
