"""Whether a server asks tenants' logins for their passwords."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.model.findings import Finding, Severity
from orchestrator.store.connect import Target
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.tenant.login import try_login


async def examine_door(
    target: Target, rows: Iterable[TenantRow], spec: ProvisionSpec
) -> list[Finding]:
    """Try to log in as one of the tenants that are there, with a password that is nobody's.

    The rules themselves are for superusers to read, and do not tell what they mean from here.
    """
    for row in rows:
        app = spec.logins(row.id).app
        said = await try_login(target.as_role(app, secrets.token_urlsafe()), name="insula doctor")
        return [_open(app)] if said == "accepted" else []
    return []


def _open(login: str) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        check="login.unasked",
        subject="server",
        what=f"it lets {login} in with any password: whoever reaches it can be any tenant, or the "
        "admin; what a tenant's own session may do is bounded as ever",
        mend="have its pg_hba.conf ask for scram-sha-256, in place of trust or peer",
    )
