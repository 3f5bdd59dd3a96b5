"""Groups of commands: one that is called without a command prints its help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer


def group(purpose: str, callback: Callable[..., None] | None = None, **more: Any) -> typer.Typer:
    """Return an empty group."""
    made = typer.Typer(
        help=purpose,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        add_completion=False,
        **more,
    )
    made.callback(invoke_without_command=True)(callback or help_without_command)
    return made


def help_without_command(context: typer.Context) -> None:
    """Print the help of a group, unless one of its commands follows."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
