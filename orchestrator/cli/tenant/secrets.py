"""`tenant secret set|list|delete`, `tenant rotate-key` and `tenant credentials`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.groups import group
from orchestrator.model.secrets import SECRET_BYTES

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What tasks call it.")]
File = Annotated[
    Path | None,
    typer.Option("--from-file", metavar="FILE", help="Read the value there and not from stdin."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    secret = group(
        "Keep secrets that only the tenant's tasks can read.",
        {"Commands": ["set", "list", "delete"]},
    )
    daemon_command(secret, "set")(set_secret)
    daemon_command(secret, "list")(list_secrets)
    daemon_command(secret, "delete")(delete_secret)
    app.add_typer(secret, name="secret")
    daemon_command(app, "rotate-key")(rotate_key)
    daemon_command(app, "credentials")(credentials)


def set_secret(
    door: Door, tenant: TenantArgument, name: NameArgument, from_file: File = None
) -> None:
    """Store a secret, in place of the one of that name. The value is read from stdin.

    At a terminal it is asked for, and not shown. One line break at its end is not part of it. An
    argument would be seen by everyone in the list of processes, so there is none.

    Example: insula tenant secret set acme_corp api_key < api_key.txt
    """
    value = _read(from_file)
    with door.open() as client:
        view = client.tenant(tenant).secret.set(name, value)
    if door.json:
        output.document(view)
    else:
        output.say(f"set {view.name}")


def list_secrets(door: Door, tenant: TenantArgument) -> None:
    """List the names of a tenant's secrets. Nothing tells their values.

    Example: insula tenant secret list acme_corp
    """
    with door.open() as client:
        found = client.tenant(tenant).secret.list()
    if door.json:
        output.document({"secrets": found})
    elif found:
        rows = [(each.name, each.created_at, each.updated_at) for each in found]
        output.table(["secret", "created", "changed"], rows)
    else:
        output.say(f"no secrets; insula tenant secret set {output.line(tenant)} NAME")


def delete_secret(door: Door, tenant: TenantArgument, name: NameArgument) -> None:
    """Delete a secret. A task that reads it from now on fails.

    Example: insula tenant secret delete acme_corp api_key
    """
    with door.open() as client:
        client.tenant(tenant).secret.delete(name)
    if door.json:
        output.document({"tenant": tenant, "deleted": name})
    else:
        output.say(f"deleted {output.line(name)}")


def rotate_key(door: Door, tenant: TenantArgument) -> None:
    """Seal a tenant's secrets with a new key, under the installation's key in force.

    Example: insula tenant rotate-key acme_corp
    """
    with door.open() as client:
        rotated = client.tenant(tenant).secret.rotate_key()
    if door.json:
        output.document(rotated)
    else:
        output.say(f"sealed {rotated.secrets} secrets of {output.line(rotated.tenant)} anew")


def credentials(door: Door, tenant: TenantArgument) -> None:
    """Print the URL under which the tenant's tasks log in, its password included.

    Only over the control socket, and each time a line in the tenant's audit.

    Example: psql "$(insula tenant credentials acme_corp)"
    """
    with door.open() as client:
        found = client.tenant(tenant).secret.credentials()
    if door.json:
        output.document(found)
    else:
        typer.echo(found.url)


def _read(file: Path | None) -> str:
    """Return the value; no error of this shows any of it."""
    content: bytes
    try:
        if file is None and sys.stdin.isatty():
            content = typer.prompt("the secret (not shown)", hide_input=True, err=True).encode()
        elif file is None:
            content = sys.stdin.buffer.read(SECRET_BYTES * 4 + 2)
        else:
            with file.open("rb") as opened:
                content = opened.read(SECRET_BYTES * 4 + 2)
        text = content.decode("utf-8")
    except OSError as error:
        raise _bad(f"the file can not be read: {error.strerror}") from None
    except ValueError:  # a NUL in the file's name, or bytes that are no text
        raise _bad("it is not UTF-8 text; store other bytes as base64") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not 0 < len(text) <= SECRET_BYTES:
        raise _bad(f"it is {'empty' if not text else f'longer than {SECRET_BYTES} characters'}")
    return text


def _bad(sentence: str) -> typer.BadParameter:
    return typer.BadParameter(sentence, param_hint="the secret")
