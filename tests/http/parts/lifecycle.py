"""The part of the small platform that changes whole tenants."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import anyio.to_thread
import msgspec

from orchestrator.model import errors
from orchestrator.model.api import (
    DeletedTenant,
    ErasedTenant,
    RenameTenant,
    RotatedCredentials,
    TenantView,
    UpdateTenant,
)
from orchestrator.model.archives import ArchivedTenant
from orchestrator.model.ids import TenantId, parse_tenant_id
from orchestrator.model.progress import Progress, Report, unheard


class HasViews(Protocol):
    """The platform, as this part sees it."""

    views: dict[TenantId, TenantView]
    put_away: set[str]

    def resolve(self, name: str) -> TenantId: ...


class HandMadeLifecycle:
    """Remembers what was asked. Tenant `busy` has an unfinished run.

    A deletion that waits for runs goes on when it `may_end`.
    """

    def __init__(self, platform: HasViews) -> None:
        self._platform = platform
        self.asked: list[tuple[Any, ...]] = []
        self.may_end = threading.Event()
        self.may_end.set()

    async def update(self, tenant: TenantId, request: UpdateTenant) -> None:
        if self._platform.views[tenant].source == "file":
            raise errors.DeclaredInFile(tenant, f"{tenant!r} is declared in a file", hint="there")
        self.asked.append(("update", tenant, request))
        self._change(tenant, name=request.name or self._platform.views[tenant].name)

    async def disable(self, tenant: TenantId, reason: str) -> None:
        self._change(tenant, enabled=False, disabled_because=reason)

    async def enable(self, tenant: TenantId) -> None:
        self._change(tenant, enabled=True, disabled_because=None)

    async def rotate_credentials(self, tenant: TenantId) -> RotatedCredentials:
        """Tenant `trusted` is one of a server that asks for no password."""
        view = self._platform.views[tenant]
        return RotatedCredentials(
            tenant=tenant,
            rotation=3,
            roles=[view.app_role, view.engine_role],
            old_password="accepted" if tenant == "trusted" else "refused",
        )

    async def rename(
        self, tenant: TenantId, wanted: RenameTenant, *, by: str, report: Report = unheard
    ) -> TenantId:
        tenant = self._platform.resolve(tenant)
        self.asked.append(("rename", tenant, wanted, by))
        new = parse_tenant_id(wanted.to)
        if new in self._platform.views:
            raise errors.TenantExists(new, f"{new!r} is taken")
        report(Progress("renaming its schema and logins"))
        self._platform.views[new] = msgspec.structs.replace(
            self._platform.views.pop(tenant), id=new, aliases=[tenant] if wanted.alias else []
        )
        return new

    async def delete(
        self,
        name: str,
        *,
        keep: bool,
        force: bool = False,
        wait: float = 0.0,
        report: Report = unheard,
    ) -> DeletedTenant:
        tenant = TenantId(name)
        self.asked.append(("delete", tenant, keep, force, wait))
        if tenant in self._platform.put_away:
            return DeletedTenant(tenant=tenant, schema=None, roles=[])
        if wait:
            report(Progress("waiting for its runs", 0, 1, "runs"))
            await anyio.to_thread.run_sync(self.may_end.wait)
        if tenant == "busy" and not force:
            raise errors.TenantInUse(tenant, 1)
        view = self._platform.views.pop(tenant)
        return DeletedTenant(
            tenant=tenant,
            schema=view.schema,
            roles=[view.app_role, view.engine_role],
            runs_kept=3 if keep else 0,
            results=f"/srv/{tenant}.jsonl.gz" if keep else None,
        )

    async def erase(
        self, name: str, *, force: bool = False, wait: float = 0.0, report: Report = unheard
    ) -> ErasedTenant:
        gone = await self.delete(name, keep=False, force=force, wait=wait, report=report)
        return ErasedTenant(
            tenant=gone.tenant, schema=gone.schema, roles=gone.roles, keys=1, former_keys=2
        )

    async def erase_former(self, tenant: TenantId) -> ErasedTenant:
        self.asked.append(("erase_former", tenant))
        return ErasedTenant(tenant=tenant, schema=None, roles=[], keys=2)

    async def archive(
        self, tenant: TenantId, *, force: bool = False, wait: float = 0.0, report: Report = unheard
    ) -> ArchivedTenant:
        self.asked.append(("archive", tenant, force, wait))
        report(Progress("rows", 1, 2, "rows"))
        return ArchivedTenant(tenant=tenant, file=f"/srv/{tenant}.tar", rows=12)

    def _change(self, tenant: TenantId, **fields: Any) -> None:
        views = self._platform.views
        views[tenant] = msgspec.structs.replace(views[tenant], **fields)
