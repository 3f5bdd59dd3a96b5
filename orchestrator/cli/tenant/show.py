"""`tenant show|why|audit`: what is known of one tenant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from orchestrator.cli import output
from orchestrator.cli.arguments import TenantArgument
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.api import Alert, TenantPause, TenantView

Entries = Annotated[
    int,
    typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many, newest first."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "show")(show)
    daemon_command(app, "why")(why)
    daemon_command(app, "audit")(audit)


def show(door: Door, tenant: TenantArgument) -> None:
    """Show everything about one tenant.

    Example: insula tenant show acme_corp
    """
    with door.open() as client:
        view = client.tenant(tenant).show()
    if door.json:
        output.document(view)
        return
    output.fields(_tenant_fields(view))
    if view.declaration:
        typer.echo("declaration")
        typer.echo(output.pretty(_without_nothing(view.declaration)))


def why(door: Door, tenant: TenantArgument) -> None:
    """Say why a tenant runs or does not and when it will, with its last changes of state.

    Example: insula tenant why acme_corp
    """
    with door.open() as client:
        found = client.tenant(tenant).why()
    if door.json:
        output.document(found)
        return
    output.fields(
        [
            ("tenant", found.tenant),
            ("state", found.state),
            ("because", found.because),
            ("next try or wake-up", found.next_at),
            ("served by node", found.served_by),
            *(("near its limit", _near(alert)) for alert in found.alerts or ()),
        ]
    )
    if found.transitions:
        output.table(
            ["at", "node", "state", "reason", "until"],
            [(t.at, t.node, t.state, t.reason, t.next_at) for t in found.transitions],
        )


def audit(door: Door, tenant: TenantArgument, limit: Entries = 50) -> None:
    """List who did what to a tenant and what came of it, newest first. Also of one that is gone.

    Example: insula tenant audit acme_corp --limit 200
    """
    with door.open() as client:
        page = client.audit(tenant, limit=limit)
    if door.json:
        output.document(page)
        return
    output.table(
        ["at", "who", "operation", "of", "outcome", "detail"],
        [
            (e.at, e.actor, e.operation, e.subject, e.outcome or "under way", e.detail)
            for e in page.entries
        ],
    )
    if page.cursor is not None:
        output.say(f"there are more than {limit}; raise --limit")


def _sentence(pause: TenantPause) -> str:
    what = f"workflow {pause.workflow}" if pause.workflow else "all of it"
    because = f": {pause.reason}" if pause.reason else ""
    return f"{what}, since {pause.since:%Y-%m-%d %H:%M:%S} UTC{because}"


def _near(alert: Alert) -> str:
    """Return which limit a tenant came near to, and when."""
    return f"{alert.quota}: {alert.used} of {alert.allowed} at {alert.at:%Y-%m-%d %H:%M:%S} UTC"


def _configuration(view: TenantView) -> str | None:
    """Return what it is to be served as, and whether it was."""
    wanted, applied = view.config_hash, view.applied_config_hash
    if wanted is None or wanted == applied:
        return wanted
    return f"{wanted}, served as {applied}" if applied else f"{wanted}, not served yet"


def _tenant_fields(view: TenantView) -> list[tuple[str, object]]:
    made = view.provisioned_at is not None
    versions = f"engine {view.engine_version}, application {view.app_version}"
    return [
        ("tenant", view.id),
        ("name", view.name),
        ("aliases", view.aliases),
        ("tier", view.tier),
        ("source", view.source),
        ("enabled", view.enabled),
        ("disabled because", view.disabled_because),
        ("state", view.state),
        ("held for", view.held_for),
        *(("paused", _sentence(pause)) for pause in view.pauses or ()),
        *(("near its limit", _near(alert)) for alert in view.alerts or ()),
        ("epoch", view.epoch),
        ("retry at", view.retry_at),
        ("last error", view.last_error),
        ("last active", view.last_active_at),
        ("configuration", _configuration(view)),
        ("schema", view.schema if made else f"{view.schema} (made at first use)"),
        ("versions", versions if made else None),
        ("provisioned", view.provisioned_at),
        ("shard", view.shard),
        ("engine role", view.engine_role),
        ("application role", view.app_role),
    ]


def _without_nothing(value: Any) -> Any:
    """Return a declaration without what is not set in it, which is most of it."""
    if not isinstance(value, dict):
        return value
    parts = {key: _without_nothing(part) for key, part in value.items()}
    return {key: part for key, part in parts.items() if part not in (None, [], {})}
