"""`token create|list|revoke`: who may use the API over TCP."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output, values
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.tokens import MintedToken, TokenView

Expires = Annotated[
    str | None, typer.Option(metavar="TIME", help="It is void after so long: 12h, 30d.")
]
Label = Annotated[str, typer.Option("--name", metavar="TEXT", help="What it is for.")]
Of = Annotated[
    str | None,
    typer.Option("--tenant", metavar="TENANT", help="A tenant's, not the installation's."),
]
TokenArgument = Annotated[
    str, typer.Argument(metavar="TOKEN_ID", help="Its id; the token itself is never an argument.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "create")(create)
    daemon_command(app, "list")(list_tokens)
    daemon_command(app, "revoke")(revoke)


def create(door: Door, name: Label = "", expires: Expires = None) -> None:
    """Make a token that may do everything, for every tenant, and print it: this once.

    Over the control socket none is needed, so the first one is made there.

    Example: insula token create --name deployment --expires 30d > token
    """
    values.checked_duration(expires, "--expires")
    with door.open() as client:
        minted = client.tokens.create(name=name, expires=expires)
    print_minted(door, minted)


def list_tokens(door: Door, tenant: Of = None) -> None:
    """List the tokens of the installation, or of a tenant, newest first.

    Example: insula token list --tenant acme_corp
    """
    with door.open() as client:
        tokens = client.tokens.list() if tenant is None else client.tenant(tenant).tokens.list()
    if door.json:
        output.document({"tokens": tokens})
    elif tokens:
        headings = ["id", "role", "name", "created", "by", "expires", "last used", "revoked"]
        output.table(
            headings,
            [
                (
                    *(each.id, each.role, each.name, each.created_at, each.created_by),
                    *(each.expires_at or "never", each.last_used_at, each.revoked_at),
                )
                for each in tokens
            ],
        )
    else:
        output.say("no tokens")


def revoke(door: Door, token: TokenArgument, tenant: Of = None) -> None:
    """Make a token void, on every node from the next request on, and say whose it was.

    Its id is enough for who runs the installation; a token of a tenant names that one.

    Example: insula token revoke 5f0c3a9be1d24a77
    """
    with door.open() as client:
        whose = client.tokens if tenant is None else client.tenant(tenant).tokens
        view = whose.revoke(token)
    if door.json:
        output.document(view)
    else:
        output.say(f"revoked {view.id}, {_whose(view)}")


def print_minted(door: Door, minted: MintedToken) -> None:
    """Print a new token on stdout, and what it is for people."""
    if door.json:
        output.document(minted)
        return
    typer.echo(minted.token)
    view = minted.view
    lasts = f"until {output.line(view.expires_at)}" if view.expires_at else "until it is revoked"
    output.say(f"token {view.id}, {_whose(view)}, {lasts}; it is not shown again")


def _whose(view: TokenView) -> str:
    whose = "the installation" if view.tenant is None else f"tenant {view.tenant}"
    return f"{view.role} of {whose}"
