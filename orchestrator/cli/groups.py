"""Groups of commands: one that is called without a command prints its help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperGroup

SENTENCE = 300
"""Characters of help in a list: the whole first sentence, over two lines if need be."""

Sections = Mapping[str, Sequence[str]]
"""Headings of the list of a group's commands, and the commands below each."""


def group(
    purpose: str,
    sections: Sections,
    callback: Callable[..., None] | None = None,
    *,
    completion: bool = False,
    **more: Any,
) -> typer.Typer:
    """Return an empty group, whose help lists its commands in sections."""
    made = typer.Typer(
        cls=_listed_under(sections),
        help=purpose,
        epilog="COMMAND --help tells what a command takes, with an example.",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=completion,
        **more,
    )
    made.callback(invoke_without_command=True)(callback or help_without_command)
    return made


def _listed_under(sections: Sections) -> type[TyperGroup]:
    """Return a class of groups whose commands are all below one of these headings."""

    class Listed(TyperGroup):
        def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as theirs
            for heading, names in sections.items():
                rows = [(name, self.commands[name].get_short_help_str(SENTENCE)) for name in names]
                with formatter.section(heading):
                    formatter.write_dl(rows)

    return Listed


def help_without_command(context: typer.Context) -> None:
    """Print the help of a group, unless one of its commands follows."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
