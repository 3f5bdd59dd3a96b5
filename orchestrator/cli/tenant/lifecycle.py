"""`tenant create|update|enable|disable|rotate-credentials|rename|delete|erase`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli import output, values
from orchestrator.cli.arguments import TenantArgument, WaitForRuns
from orchestrator.cli.confirm import confirmed, confirmed_former
from orchestrator.cli.connect import Door, daemon_command
from orchestrator.model.api import DeletedTenant, ErasedTenant, TenantView

NewTenant = Annotated[
    str, typer.Argument(metavar="ID", help="Lower case, digits and underscores: acme_corp.")
]
Name = Annotated[str | None, typer.Option(metavar="NAME", help="The name for people.")]
Tier = Annotated[str | None, typer.Option(metavar="TIER", help="The tier to inherit from.")]
FirstAliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="ALIAS", help="Another name; may be given again."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="limits.max_queue_length=500; may be given again."
    ),
]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="ALIAS", help="Its aliases from now on; may be given again."),
]
Unset = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="What gets its default back; may be given again."),
]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; whoever uses the tenant is told.")]
Keep = Annotated[
    bool, typer.Option("--keep-results", help="Keep its finished runs in a file on the server.")
]
Purge = Annotated[bool, typer.Option("--purge", help="Keep nothing.")]
NewId = Annotated[str, typer.Argument(metavar="NEW", help="Its id from now on.")]
NoAlias = Annotated[
    bool, typer.Option("--no-alias", help="Do not let the old id lead to it any more.")
]
GoOn = Annotated[bool, typer.Option("--force", help="Let unfinished runs go on under the new id.")]
Former = Annotated[
    bool,
    typer.Option(
        "--former", help="Only the keys of former tenants of this id; who has it now keeps all."
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Do not ask, and drop unfinished runs as well.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    daemon_command(app, "create")(create)
    daemon_command(app, "update")(update)
    daemon_command(app, "enable")(enable)
    daemon_command(app, "disable")(disable)
    daemon_command(app, "rotate-credentials")(rotate_credentials)
    daemon_command(app, "rename")(rename)
    daemon_command(app, "delete")(delete)
    daemon_command(app, "erase")(erase)


def create(
    door: Door,
    id: NewTenant,
    name: Name = None,
    tier: Tier = None,
    alias: FirstAliases = None,
    set: Settings = None,
) -> None:
    """Register a tenant. Its schema and roles are made at first use.

    Example: insula tenant create acme_corp --tier basic --set limits.max_queue_length=500
    """
    settings = values.read_settings(set or [])
    with door.open() as client:
        view = client.create_tenant(id, name=name, tier=tier, aliases=alias or [], set=settings)
    if door.json:
        output.document(view)
    else:
        typer.echo(view.id)


def update(  # noqa: PLR0913 - one parameter for each option
    door: Door,
    tenant: TenantArgument,
    name: Name = None,
    tier: Tier = None,
    alias: Aliases = None,
    set: Settings = None,
    unset: Unset = None,
) -> None:
    """Change a tenant that was registered at run time; what is not named stays as it is.

    Example: insula tenant update acme_corp --tier premium --unset limits.max_queue_length
    """
    settings = values.read_settings(set or [])
    if not (name or tier or alias or settings or unset):
        raise typer.BadParameter("say what to change", param_hint="--set")
    with door.open() as client:
        view = client.tenant(tenant).lifecycle.update(
            name=name, tier=tier, aliases=alias, set=settings, unset=unset or []
        )
    _print_view(door, view, "updated")


def enable(door: Door, tenant: TenantArgument) -> None:
    """Let a tenant that was disabled work again; what waited meanwhile goes on.

    One that this node has in quarantine tries again at once, and the answer says what came of it.

    Example: insula tenant enable acme_corp
    """
    with door.open() as client:
        view = client.tenant(tenant).lifecycle.enable()
    _print_view(door, view, "enabled")


def disable(door: Door, tenant: TenantArgument, reason: Reason = "") -> None:
    """Let a tenant take no work until it is enabled. Running tasks may end; its data stay.

    Example: insula tenant disable acme_corp --reason "has not paid"
    """
    with door.open() as client:
        view = client.tenant(tenant).lifecycle.disable(reason)
    _print_view(door, view, "disabled")


def rotate_credentials(door: Door, tenant: TenantArgument) -> None:
    """Give the tenant's two logins new passwords. What runs goes on, on all nodes.

    Example: insula tenant rotate-credentials acme_corp
    """
    with door.open() as client:
        rotated = client.tenant(tenant).lifecycle.rotate_credentials()
    if door.json:
        output.document(rotated)
    else:
        output.fields(
            [
                ("rotated", rotated.tenant),
                ("roles", rotated.roles),
                ("rotation", rotated.rotation),
                ("old password", rotated.old_password),
            ]
        )
        if rotated.old_password == "accepted":  # noqa: S105 - no password
            output.say("the server asks these logins for no password: see its pg_hba.conf")


def rename(
    door: Door,
    tenant: TenantArgument,
    new: NewId,
    no_alias: NoAlias = False,
    force: GoOn = False,
    wait: WaitForRuns = None,
) -> None:
    """Give a tenant another id: its schema, its logins, its runs. Unfinished runs keep it.

    Example: insula tenant rename acme_corp acme_inc --wait 5m
    """
    seconds = values.read_seconds(wait, "--wait")
    with door.open() as client, door.progress() as report:
        view = client.tenant(tenant).lifecycle.rename(
            new, alias=not no_alias, force=force, wait=seconds, report=report
        )
    _print_view(door, view, "renamed: it is")


def delete(
    door: Door,
    tenant: TenantArgument,
    keep_results: Keep = False,
    purge: Purge = False,
    force: Force = False,
    wait: WaitForRuns = None,
) -> None:
    """Drop a tenant: its schema, its logins and all its data. Unfinished runs keep it.

    Example: insula tenant delete acme_corp --keep-results --wait 5m
    """
    if keep_results == purge:
        raise typer.BadParameter(
            "give one of them; to keep everything, disable the tenant instead",
            param_hint="--keep-results, --purge",
        )
    seconds = values.read_seconds(wait, "--wait")
    with door.open() as client:
        if not force:
            kept = "but for its finished runs" if keep_results else "with its runs and all else"
            tenant = confirmed(client, tenant, kept)
        with door.progress() as report:
            gone = client.tenant(tenant).lifecycle.delete(
                keep_results=keep_results, force=force, wait=seconds, report=report
            )
    if door.json:
        output.document(gone)
    else:
        output.fields(_deleted_fields(gone))


def erase(
    door: Door,
    tenant: TenantArgument,
    force: Force = False,
    wait: WaitForRuns = None,
    former: Former = False,
) -> None:
    """Delete a tenant and destroy its keys: what was sealed for it is lost, in all its archives.

    Where nobody has the id any more, the keys of all its former tenants are destroyed. Unfinished
    runs keep a tenant.

    Example: insula tenant erase acme_corp --wait 5m
    """
    seconds = values.read_seconds(wait, "--wait")
    with door.open() as client:
        if not force and former:
            confirmed_former(tenant)
        elif not force:
            keys = "and with the keys of its archives: nothing brings back what they seal"
            tenant = confirmed(client, tenant, keys, also_deleted=True)
        with door.progress() as report:
            gone = client.tenant(tenant).lifecycle.erase(
                force=force, wait=seconds, former=former, report=report
            )
    if door.json:
        output.document(gone)
    else:
        output.fields(_erased_fields(gone, former=former))


def _erased_fields(gone: ErasedTenant, *, former: bool) -> list[tuple[str, object]]:
    if former:
        return [("erased", f"former tenants of {gone.tenant}"), ("keys destroyed", gone.keys)]
    left = f"{gone.former_keys}, of former tenants: insula tenant erase {gone.tenant} --former"
    return [
        ("erased", gone.tenant),
        ("schema", gone.schema or "it had none"),
        ("roles", gone.roles),
        ("keys destroyed", gone.keys),
        ("keys left", left if gone.former_keys else None),
        ("left elsewhere", gone.left),
    ]


def _print_view(door: Door, view: TenantView, done: str) -> None:
    if door.json:
        output.document(view)
    else:
        output.say(f"{done} {output.line(view.id)}")


def _deleted_fields(gone: DeletedTenant) -> list[tuple[str, object]]:
    return [
        ("deleted", gone.tenant),
        ("schema", gone.schema or "it had none"),
        ("roles", gone.roles),
        ("runs kept", gone.runs_kept if gone.results else None),
        ("in the file", gone.results),
        ("left elsewhere", gone.left),
    ]
