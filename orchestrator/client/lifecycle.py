"""The verbs for a whole tenant, for both clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.client import calls
from orchestrator.client.sending import Send, SendNow
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.api import (
    DeletedTenant,
    ErasedTenant,
    RenameTenant,
    RotatedCredentials,
    TenantView,
)
from orchestrator.model.figures import TenantFigures
from orchestrator.model.maintenance import MaintenanceReport
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.progress import Report


class TenantLifecycle:
    """What is done to a whole tenant; `TenantClient.lifecycle` is one."""

    def __init__(self, send: Send, tenant: str) -> None:
        self._send = send
        self._tenant = tenant

    async def update(
        self,
        *,
        name: str | None = None,
        tier: str | None = None,
        aliases: Iterable[str] | None = None,
        set: Mapping[str, Any] | None = None,
        unset: Iterable[str] = (),
    ) -> TenantView:
        """Change the declaration of a tenant that was registered at run time; the rest stays.

        `set` has dotted paths of its declaration, `unset` those that get their default back.

        >>> await tenant.lifecycle.update(set={"limits.max_queue_length": 50})  # doctest: +SKIP
        """
        call = calls.update_tenant(
            self._tenant, name=name, tier=tier, aliases=aliases, set=set, unset=unset
        )
        return await self._send(call)

    async def disable(self, reason: str = "") -> TenantView:
        """Let the tenant take no work, whatever its file says, until it is enabled.

        >>> (await tenant.lifecycle.disable("has not paid")).enabled  # doctest: +SKIP
        False
        """
        return await self._send(calls.disable_tenant(self._tenant, reason))

    async def enable(self) -> TenantView:
        """Let the tenant work again; what waited meanwhile goes on.

        >>> (await tenant.lifecycle.enable()).enabled  # doctest: +SKIP
        True
        """
        return await self._send(calls.enable_tenant(self._tenant))

    async def stats(self, *, exact: bool = False) -> TenantFigures:
        """Return the tenant in figures; `exact` counts the rows of each table as well.

        >>> (await tenant.lifecycle.stats()).runs  # doctest: +SKIP
        {'succeeded': 12}
        """
        return await self._send(calls.tenant_stats(self._tenant, exact=exact))

    async def maintain(
        self,
        *,
        after: str = "",
        statement_seconds: float = 600.0,
        report: Report | None = None,
    ) -> MaintenanceReport:
        """Vacuum, analyze and check some of the tenant's tables, those `after` one, by name.

        Ask again, after the last one that was told, while there are any `left`. `report` hears of
        each table.

        >>> (await tenant.lifecycle.maintain()).left  # doctest: +SKIP
        0
        """
        call = calls.maintain_tenant(self._tenant, after=after, statement_seconds=statement_seconds)
        return await self._send(call, report)

    async def adopt(
        self, schema: str, *, at: int | None = None, dry_run: bool = False
    ) -> AdoptionReport:
        """Make an existing schema that of this tenant, which was never used.

        It has the migrations up to number `at`, or is just what some of them make.

        >>> (await tenant.lifecycle.adopt("legacy", dry_run=True)).obstacles  # doctest: +SKIP
        []
        """
        wanted = AdoptSchema(schema=schema, at=at, dry_run=dry_run)
        return await self._send(calls.adopt_schema(self._tenant, wanted))

    async def rotate_credentials(self) -> RotatedCredentials:
        """Give both logins of the tenant new passwords; sessions go on.

        >>> (await tenant.lifecycle.rotate_credentials()).rotation  # doctest: +SKIP
        1
        """
        return await self._send(calls.rotate_credentials(self._tenant))

    async def rename(
        self,
        new: str,
        *,
        alias: bool = True,
        force: bool = False,
        wait: float = 0.0,
        report: Report | None = None,
    ) -> TenantView:
        """Give the tenant another id; the old one stays as an `alias`, unless that is not wanted.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`: then they go
        on under the new id. `report` hears how far it is.

        >>> (await tenant.lifecycle.rename("acme_inc")).id  # doctest: +SKIP
        'acme_inc'
        """
        wanted = RenameTenant(to=new, alias=alias, force=force, wait=wait)
        return await self._send(calls.rename_tenant(self._tenant, wanted), report)

    async def move(
        self,
        to: str,
        *,
        force: bool = False,
        wait: float = 0.0,
        report: Report | None = None,
    ) -> MovedTenant:
        """Move the tenant to another shard; the copy of before is kept until that is confirmed.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`: then they go
        on there. `report` hears how far it is.

        >>> (await tenant.lifecycle.move("eu")).shard  # doctest: +SKIP
        'eu'
        """
        wanted = MoveTenant(to=to, force=force, wait=wait)
        return await self._send(calls.move_tenant(self._tenant, wanted), report)

    async def confirm_move(self, *, report: Report | None = None) -> MovedTenant:
        """Drop the copy that is kept where the tenant has moved from."""
        wanted = MoveTenant(confirm=True)
        return await self._send(calls.move_tenant(self._tenant, wanted), report)

    async def move_back(self, *, force: bool = False, report: Report | None = None) -> MovedTenant:
        """Return to that copy; MoveFailed when anything was done since, unless `force`."""
        wanted = MoveTenant(back=True, force=force)
        return await self._send(calls.move_tenant(self._tenant, wanted), report)

    async def delete(
        self,
        *,
        keep_results: bool,
        force: bool = False,
        wait: float = 0.0,
        report: Report | None = None,
    ) -> DeletedTenant:
        """Drop the tenant with all its data; its finished runs may be kept in a file on the server.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`. `report`
        hears how far it is.

        >>> (await tenant.lifecycle.delete(keep_results=True)).results  # doctest: +SKIP
        '/var/lib/insula/results/acme_corp-20261121T120000Z.jsonl.gz'
        """
        call = calls.delete_tenant(self._tenant, keep=keep_results, force=force, wait=wait)
        return await self._send(call, report)

    async def erase(
        self,
        *,
        force: bool = False,
        wait: float = 0.0,
        former: bool = False,
        report: Report | None = None,
    ) -> ErasedTenant:
        """Delete the tenant, if it is not yet, and destroy its keys: what was sealed is lost.

        As `delete` for unfinished runs. Where nobody has the id any more, the keys of all its
        former tenants are destroyed; with `former` these alone, and who has the id now keeps all.
        TenantNotFound when there is neither a tenant nor a key.

        >>> (await tenant.lifecycle.erase()).keys  # doctest: +SKIP
        1
        """
        call = calls.erase_tenant(self._tenant, force=force, wait=wait, former=former)
        return await self._send(call, report)


class SyncTenantLifecycle:
    """What is done to a whole tenant; `SyncTenantClient.lifecycle` is one."""

    def __init__(self, send: SendNow, tenant: str) -> None:
        self._send = send
        self._tenant = tenant

    def update(
        self,
        *,
        name: str | None = None,
        tier: str | None = None,
        aliases: Iterable[str] | None = None,
        set: Mapping[str, Any] | None = None,
        unset: Iterable[str] = (),
    ) -> TenantView:
        """Change the declaration of a tenant that was registered at run time; the rest stays.

        `set` has dotted paths of its declaration, `unset` those that get their default back.

        >>> tenant.lifecycle.update(set={"limits.max_queue_length": 50})  # doctest: +SKIP
        """
        call = calls.update_tenant(
            self._tenant, name=name, tier=tier, aliases=aliases, set=set, unset=unset
        )
        return self._send(call)

    def disable(self, reason: str = "") -> TenantView:
        """Let the tenant take no work, whatever its file says, until it is enabled.

        >>> (tenant.lifecycle.disable("has not paid")).enabled  # doctest: +SKIP
        False
        """
        return self._send(calls.disable_tenant(self._tenant, reason))

    def enable(self) -> TenantView:
        """Let the tenant work again; what waited meanwhile goes on.

        >>> (tenant.lifecycle.enable()).enabled  # doctest: +SKIP
        True
        """
        return self._send(calls.enable_tenant(self._tenant))

    def stats(self, *, exact: bool = False) -> TenantFigures:
        """Return the tenant in figures; `exact` counts the rows of each table as well.

        >>> (tenant.lifecycle.stats()).runs  # doctest: +SKIP
        {'succeeded': 12}
        """
        return self._send(calls.tenant_stats(self._tenant, exact=exact))

    def maintain(
        self,
        *,
        after: str = "",
        statement_seconds: float = 600.0,
        report: Report | None = None,
    ) -> MaintenanceReport:
        """Vacuum, analyze and check some of the tenant's tables, those `after` one, by name.

        Ask again, after the last one that was told, while there are any `left`. `report` hears of
        each table.

        >>> (tenant.lifecycle.maintain()).left  # doctest: +SKIP
        0
        """
        call = calls.maintain_tenant(self._tenant, after=after, statement_seconds=statement_seconds)
        return self._send(call, report)

    def adopt(self, schema: str, *, at: int | None = None, dry_run: bool = False) -> AdoptionReport:
        """Make an existing schema that of this tenant, which was never used.

        It has the migrations up to number `at`, or is just what some of them make.

        >>> (tenant.lifecycle.adopt("legacy", dry_run=True)).obstacles  # doctest: +SKIP
        []
        """
        wanted = AdoptSchema(schema=schema, at=at, dry_run=dry_run)
        return self._send(calls.adopt_schema(self._tenant, wanted))

    def rotate_credentials(self) -> RotatedCredentials:
        """Give both logins of the tenant new passwords; sessions go on.

        >>> (tenant.lifecycle.rotate_credentials()).rotation  # doctest: +SKIP
        1
        """
        return self._send(calls.rotate_credentials(self._tenant))

    def rename(
        self,
        new: str,
        *,
        alias: bool = True,
        force: bool = False,
        wait: float = 0.0,
        report: Report | None = None,
    ) -> TenantView:
        """Give the tenant another id; the old one stays as an `alias`, unless that is not wanted.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`: then they go
        on under the new id. `report` hears how far it is.

        >>> tenant.lifecycle.rename("acme_inc").id  # doctest: +SKIP
        'acme_inc'
        """
        wanted = RenameTenant(to=new, alias=alias, force=force, wait=wait)
        return self._send(calls.rename_tenant(self._tenant, wanted), report)

    def move(
        self,
        to: str,
        *,
        force: bool = False,
        wait: float = 0.0,
        report: Report | None = None,
    ) -> MovedTenant:
        """Move the tenant to another shard; the copy of before is kept until that is confirmed.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`: then they go
        on there. `report` hears how far it is.

        >>> tenant.lifecycle.move("eu").shard  # doctest: +SKIP
        'eu'
        """
        wanted = MoveTenant(to=to, force=force, wait=wait)
        return self._send(calls.move_tenant(self._tenant, wanted), report)

    def confirm_move(self, *, report: Report | None = None) -> MovedTenant:
        """Drop the copy that is kept where the tenant has moved from."""
        wanted = MoveTenant(confirm=True)
        return self._send(calls.move_tenant(self._tenant, wanted), report)

    def move_back(self, *, force: bool = False, report: Report | None = None) -> MovedTenant:
        """Return to that copy; MoveFailed when anything was done since, unless `force`."""
        wanted = MoveTenant(back=True, force=force)
        return self._send(calls.move_tenant(self._tenant, wanted), report)

    def delete(
        self,
        *,
        keep_results: bool,
        force: bool = False,
        wait: float = 0.0,
        report: Report | None = None,
    ) -> DeletedTenant:
        """Drop the tenant with all its data; its finished runs may be kept in a file on the server.

        TenantInUse when it has unfinished runs, after `wait` seconds, unless `force`. `report`
        hears how far it is.

        >>> (tenant.lifecycle.delete(keep_results=True)).results  # doctest: +SKIP
        '/var/lib/insula/results/acme_corp-20261121T120000Z.jsonl.gz'
        """
        call = calls.delete_tenant(self._tenant, keep=keep_results, force=force, wait=wait)
        return self._send(call, report)

    def erase(
        self,
        *,
        force: bool = False,
        wait: float = 0.0,
        former: bool = False,
        report: Report | None = None,
    ) -> ErasedTenant:
        """Delete the tenant, if it is not yet, and destroy its keys: what was sealed is lost.

        As `delete` for unfinished runs. Where nobody has the id any more, the keys of all its
        former tenants are destroyed; with `former` these alone, and who has the id now keeps all.
        TenantNotFound when there is neither a tenant nor a key.

        >>> tenant.lifecycle.erase().keys  # doctest: +SKIP
        1
        """
        call = calls.erase_tenant(self._tenant, force=force, wait=wait, former=former)
        return self._send(call, report)
