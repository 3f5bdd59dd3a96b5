"""`migrate`: brings the schemas of all tenants up to date."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.model.migration import MOST_AT_ONCE, MigrateTenants, MigrationReport

Tenants = Annotated[
    list[str] | None,
    typer.Option("--tenant", metavar="TENANT", help="Only that one; may be given again."),
]
Canary = Annotated[
    str | None,
    typer.Option(metavar="TENANT", help="Migrate that one first; the others only if it goes well."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Run the SQL and roll it back; say what would be done.")
]
Parallel = Annotated[
    int, typer.Option(metavar="N", min=1, max=MOST_AT_ONCE, help="So many tenants at a time.")
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    daemon_command(app, "migrate")(migrate)


def migrate(
    door: Door,
    tenant: Tenants = None,
    canary: Canary = None,
    dry_run: DryRun = False,
    parallel: Parallel = 4,
) -> int:
    """Apply the migrations, as the files are now, to every tenant that is provisioned.

    Tenants go on working meanwhile. One that fails is quarantined, and the others go on.

    Example: insula migrate --canary acme_corp
    """
    wanted = MigrateTenants(tenants=tenant or [], canary=canary, dry_run=dry_run, parallel=parallel)
    with door.open() as client, door.progress() as report:
        found = client.migrate(wanted, report)
    if door.json:
        output.document(found)
    else:
        _print(found)
    return FAILED if found.failed else DONE


def _print(found: MigrationReport) -> None:
    if found.dry_run and found.migrated:
        output.table(
            ["tenant", "would get", "not tried"],
            [(each.tenant, each.files, each.untried) for each in found.migrated],
        )
    if found.failed:
        output.table(
            ["failed", "code", "why"],
            [(each.tenant, each.code, each.detail) for each in found.failed],
        )
    for hint in dict.fromkeys(each.hint for each in found.failed if each.hint):
        output.say(f"hint: {output.line(hint)}")
    output.say(_summary(found))


def _summary(found: MigrationReport) -> str:
    done = "would be migrated" if found.dry_run else "migrated"
    parts = [f"{len(found.migrated)} {done}", f"{found.up_to_date} up to date"]
    if found.failed:
        parts.append(f"{len(found.failed)} failed")
    if found.untouched:
        parts.append(f"{found.untouched} untouched, since the canary failed")
    return ", ".join(parts)
