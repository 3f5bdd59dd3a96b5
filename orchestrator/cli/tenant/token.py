"""`tenant token`: a token for one tenant."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import values
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.token import Expires, Label, print_minted
from orchestrator.model.tokens import Role

RoleOption = Annotated[
    Role, typer.Option("--role", metavar="ROLE", help="`read`, `write` or `admin`.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "token")(token)


def token(
    door: Door,
    tenant: TenantArgument,
    role: RoleOption = Role.READ,
    name: Label = "",
    expires: Expires = None,
) -> None:
    """Make a token for one tenant, and print it: this once.

    `read` sees the tenant and its runs, `write` starts and steers runs as well, `admin` also sees
    to its secrets, tokens and data.

    Example: insula tenant token acme_corp --role write --expires 30d > token
    """
    values.checked_duration(expires, "--expires")
    with door.open() as client:
        minted = client.tenant(tenant).tokens.create(role, name=name, expires=expires)
    print_minted(door, minted)
