"""`doctor`: what is wrong with an installation, and how to mend it."""

from __future__ import annotations

import importlib
import os
from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.connect import AsJson, Config, describe, progress_bar
from orchestrator.cli.exit import DONE, FAILED
from orchestrator.model.errors import InsulaError
from orchestrator.model.findings import Diagnosis
from orchestrator.model.progress import unheard
from orchestrator.settings.load import find_config, load

Tenants = Annotated[
    list[str] | None,
    typer.Option("--tenant", metavar="TENANT", help="Only that one; may be given again."),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("doctor")(doctor)


def doctor(tenant: Tenants = None, config: Config = None, as_json: AsJson = False) -> int:
    """Examine the server, the roles and every tenant's schema. It needs no daemon.

    Each finding says what is wrong and how to mend it; nothing is changed. It exits with 1 when
    there is more than notices.

    Example: insula doctor --tenant acme_corp
    """
    try:
        snapshot = load(find_config(config), os.environ)
        # Only here: the other commands talk to a daemon and need no database.
        daemon = importlib.import_module("orchestrator.daemon.doctor")
        with progress_bar(as_json=as_json) as report:
            found: Diagnosis = daemon.diagnose(snapshot, tenant or [], report or unheard)
    except InsulaError as error:
        if as_json:
            output.document({"error": describe(error)})
        raise
    if as_json:
        output.document(found)
    else:
        _print(found)
    return DONE if found.healthy else FAILED


def _print(found: Diagnosis) -> None:
    for each in found.findings:
        typer.echo(f"{each.severity}: {output.line(each.subject)}: {output.line(each.what)}")
        if each.mend:
            typer.echo(f"  mend: {output.line(each.mend)}")
    counted = f"tenants {found.tenants}, findings {len(found.findings)}"
    output.say(f"{found.database} (PostgreSQL {found.server_version}): {counted}")
