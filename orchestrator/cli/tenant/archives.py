"""`tenant backup|restore|clone|archive|unarchive`: whole tenants as files, and copies of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.archive.manifest import Runs
from orchestrator.cli import output, values
from orchestrator.cli.arguments import TenantArgument, WaitForRuns
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.archives import RestoredTenant

ToFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")]
FromFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="An archive that `tenant backup` wrote.")
]
AsTenant = Annotated[
    str | None,
    typer.Option("--as", metavar="ID", help="Make it a tenant of this id, not of its own."),
]
OnShard = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="SHARD",
        help="Make it on this shard, or control. By default it is made where it is declared.",
        show_default=False,
    ),
]
BesideOrOn = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="SHARD",
        help="Make it on this shard, or control. By default it is made beside the other.",
        show_default=False,
    ),
]
BackOn = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="SHARD",
        help="Bring it back on this shard, or control. By default it comes back where it lived.",
        show_default=False,
    ),
]
Into = Annotated[str, typer.Argument(metavar="NEW", help="The id of the tenant that is made.")]
AllRuns = Annotated[Runs, typer.Option(help="Which runs are taken along.")]
ChosenRuns = Annotated[
    Runs | None,
    typer.Option(
        help="Which runs are taken along. By default all, with --as those that have finished.",
        show_default=False,
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Take unfinished runs along: they go on when it is back.")
]
Foreign = Annotated[
    bool,
    typer.Option("--foreign", help="Take an archive of another installation, which you trust."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "backup")(backup)
    daemon_command(app, "restore")(restore)
    daemon_command(app, "clone")(clone)
    daemon_command(app, "archive")(archive)
    daemon_command(app, "unarchive")(unarchive)


def backup(door: Door, tenant: TenantArgument, file: ToFile, runs: AllRuns = "all") -> None:
    """Write a tenant as it is now into a file here. It goes on meanwhile.

    Example: insula tenant backup acme_corp acme_corp.tar
    """
    with door.open() as client, door.progress() as report:
        done = client.tenant(tenant).archives.backup(file, runs=runs, report=report)
    if door.json:
        output.document(done)
    else:
        output.fields(
            [
                ("backed up", done.tenant),
                ("as of", done.created_at),
                ("file", done.file),
                ("size", output.size(done.bytes)),
                ("tables", done.tables),
                ("rows", done.rows),
            ]
        )


def restore(
    door: Door,
    file: FromFile,
    as_tenant: AsTenant = None,
    runs: ChosenRuns = None,
    foreign: Foreign = False,
    to: OnShard = None,
) -> None:
    """Make a tenant of an archive, all of it or nothing. It must not be there.

    Example: insula tenant restore acme_corp.tar --as acme_again --to eu
    """
    from orchestrator.client.archives import manifest_of  # noqa: PLC0415 - help needs no client

    of = manifest_of(file).tenant
    with door.open() as client, door.progress() as report:
        made = client.tenant(as_tenant or of).archives.restore(
            file,
            of=of if as_tenant else None,
            runs=runs,
            foreign=foreign,
            to=to,
            report=report,
        )
    _print_made(door, made, "restored")


def clone(
    door: Door,
    tenant: TenantArgument,
    new: Into,
    runs: AllRuns = "none",
    to: BesideOrOn = None,
) -> None:
    """Make another tenant with the tables and data of this one, which goes on meanwhile.

    Example: insula tenant clone template globex
    """
    with door.open() as client, door.progress() as report:
        made = client.tenant(tenant).archives.clone(new, runs=runs, to=to, report=report)
    _print_made(door, made, "cloned")


def archive(
    door: Door, tenant: TenantArgument, force: Force = False, wait: WaitForRuns = None
) -> None:
    """Write a tenant into a file on the server and drop it, until it is brought back.

    Example: insula tenant archive acme_corp --wait 5m
    """
    seconds = values.read_seconds(wait, "--wait")
    with door.open() as client, door.progress() as report:
        done = client.tenant(tenant).archives.archive(force=force, wait=seconds, report=report)
    if door.json:
        output.document(done)
    else:
        output.fields([("archived", done.tenant), ("in the file", done.file), ("rows", done.rows)])


def unarchive(door: Door, tenant: TenantArgument, to: BackOn = None) -> None:
    """Bring an archived tenant back as it was; what it had to do goes on.

    Example: insula tenant unarchive acme_corp
    """
    with door.open() as client, door.progress() as report:
        made = client.tenant(tenant).archives.unarchive(to=to, report=report)
    _print_made(door, made, "brought back")


def _print_made(door: Door, made: RestoredTenant, done: str) -> None:
    if door.json:
        output.document(made)
        return
    output.fields(
        [
            (done, made.tenant),
            ("of", made.of),
            ("as of", made.as_of),
            ("shard", made.shard),
            ("tables", made.tables),
            ("rows", made.rows),
            ("runs that go on", made.unfinished),
        ]
    )
