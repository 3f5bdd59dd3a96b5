"""`status` and `reload`: the node itself."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.cli.exit import DONE, FAILED, exit_code
from orchestrator.client import calls
from orchestrator.model.api import LoopBlocked, ReloadReport, ShardStatus, Status
from orchestrator.model.errors import ConfigError, InsulaError, revive

Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until it is done and print what has changed.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "status")(status)
    daemon_command(app, "reload")(reload)


def status(door: Door) -> None:
    """Show the daemon at a glance.

    Example: insula status
    """
    with door.open() as client:
        found = client.status()
    if door.json:
        output.document(found)
        return
    output.fields(_status_fields(found))


def reload(door: Door, wait: Wait = False) -> int:
    """Have the daemon read its configuration again. All of it is applied, or nothing.

    Example: insula reload --wait
    """
    with door.open() as client:
        if not wait:
            accepted = client.send(calls.reload_unattended())
            if door.json:
                output.document(accepted)
            else:
                output.say("the daemon was told; `insula status` shows its last reload")
            return DONE
        report = client.reload()
    if door.json:
        output.document(report)
    else:
        _print_report(report)
    if report.applied:
        return DONE
    error = _refusal(report)
    output.complain(error)
    return FAILED if isinstance(error, ConfigError) else exit_code(error)


def _status_fields(found: Status) -> list[tuple[str, object]]:
    last, outage = found.last_reload, found.database_outage
    return [
        ("node", f"{found.node} (process {found.pid}, version {found.version})"),
        ("incarnation", found.incarnation),
        ("started", found.started_at),
        ("configuration", f"generation {found.generation}, digest {found.config_digest[:12]}"),
        ("last reload", last and ("applied" if last.applied else "refused")),
        ("problems", last and last.problems),
        ("draining", "yes" if found.draining else None),
        ("tenants", found.tenants),
        ("slots", found.slots),
        ("awake at most", found.max_awake_tenants),
        ("tasks", f"{found.running_tasks} of {found.max_concurrent_tasks}"),
        ("busiest", found.busiest),
        ("quarantined", _quarantined(found)),
        ("paused", _paused(found)),
        ("database", f"{found.database} (PostgreSQL {found.database_version})"),
        ("no answer since", outage and outage.since),
        ("because", outage and outage.error),
        *((f"shard {shard.name}", _shard(shard)) for shard in found.shards),
        ("loop lag", f"{found.loop_lag_ms:.1f} ms"),
        ("last blocked", found.loop_blocked and _blocked(found.loop_blocked)),
    ]


def _quarantined(found: Status) -> str | None:
    """Return who is named of the tenants in quarantine, and where to look."""
    if not found.quarantined:
        return None
    first, *others = found.quarantined
    more = ", …" if found.slots["quarantined"] > len(found.quarantined) else ""
    return f"{', '.join([first, *others])}{more} (insula tenant why {first})"


def _paused(found: Status) -> str | None:
    """Return how many tenants are paused, which, and where to see why."""
    if not found.paused:
        return None
    many = found.paused_tenants
    if many is None:
        return f"{', '.join(found.paused)}; of tenants that sleep the database did not tell"
    more = ", …" if many > len(found.paused) else ""
    return f"{many}: {', '.join(found.paused)}{more} (insula tenant list says why)"


def _shard(found: ShardStatus) -> str:
    """Return what a shard has, and whether it answers."""
    text = f"{found.tenants} tenants, isolation {found.isolation}, {found.database}"
    if found.outage is None:
        return text
    since = f"{found.outage.since:%Y-%m-%d %H:%M:%S}"
    return f"{text}: no answer since {since}, because {found.outage.error}"


def _blocked(found: LoopBlocked) -> str:
    """Return who held up the event loop, as far as it is known."""
    text = f"for {found.milliseconds} ms until {found.ended_at:%Y-%m-%d %H:%M:%S}"
    if found.run is not None:
        text += f" by task {found.task} of run {found.run} of tenant {found.tenant}"
    return f"{text}, in {found.where}" if found.where else text


def _refusal(report: ReloadReport) -> InsulaError:
    hint = "the old configuration stays in force"
    if report.code in (None, ConfigError.code):
        return ConfigError(report.problems, hint=hint)
    return revive(report.code, "; ".join(report.problems), hint, {})


def _print_report(report: ReloadReport) -> None:
    for tenant in report.added:
        typer.echo(f"+ {output.line(tenant)}")
    for tenant, changed in report.changed.items():
        typer.echo(f"~ {output.line(tenant)}: {output.line(changed)}")
    for tenant in report.removed:
        typer.echo(f"- {output.line(tenant)}")
    for note in report.notes:
        output.say(f"note: {output.line(note)}")
    if report.applied:
        changes = len(report.added) + len(report.changed) + len(report.removed)
        output.say(f"generation {report.generation}: tenants changed {changes}")
