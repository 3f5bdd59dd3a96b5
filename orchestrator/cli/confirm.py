"""Has the id of a tenant typed once more before it is destroyed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from orchestrator.cli import output
from orchestrator.model.errors import TenantNotFound

if TYPE_CHECKING:
    from orchestrator.client.sync import SyncClient


def confirmed(client: SyncClient, tenant: str, what: str, *, also_deleted: bool = False) -> str:
    """Return the id of a tenant that somebody at a terminal wants dropped, once it was typed.

    `what` says what goes with it. Raises TenantNotFound before anybody is asked, and, with
    `also_deleted`, only when there never was one; BadParameter when there is no terminal, as a
    script says --force, and for any other name.
    """
    known_as = _known_as(client, tenant, also_deleted=also_deleted)
    named = known_as if tenant == known_as else f"{known_as} ({output.line(tenant)} leads to it)"
    output.say(f"tenant {named} and all its data will be dropped, {what}")
    _have_typed(known_as)
    return known_as


def confirmed_former(tenant: str) -> None:
    """Have somebody at a terminal type the id whose former tenants are to lose their keys."""
    output.say(
        f"the keys of all former tenants of the id {output.line(tenant)} will be destroyed: "
        "nothing brings back what they seal"
    )
    _have_typed(tenant)


def _have_typed(known_as: str) -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        sentence = "there is no terminal to ask at, and a script says --force: nothing was deleted"
        raise typer.BadParameter(sentence, param_hint="TENANT")
    typed = typer.prompt("type its id to go on", default="", show_default=False, err=True)
    if typed != known_as:
        sentence = f"that is not its id, {known_as}: nothing was deleted"
        raise typer.BadParameter(sentence, param_hint="TENANT")


def _known_as(client: SyncClient, tenant: str, *, also_deleted: bool) -> str:
    """Return the id that a name leads to, also of a tenant that is archived."""
    try:
        return client.tenant(tenant).why().tenant
    except TenantNotFound:
        if not also_deleted:
            raise
    return client.usage.tenant(tenant).tenant  # which outlives a tenant, and is of ids alone
