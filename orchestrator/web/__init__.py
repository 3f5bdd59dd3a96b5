"""Which tenant a request to your own web application is for.

    resolver = TenantResolver([Subdomain("example.com"), Header("X-Tenant-ID")])
    app = TenantMiddleware(app, resolver, client)

Every source that a request may name its tenant in is asked; what they say has to agree. See
docs/how-to/resolve-the-tenant.md.
"""

from __future__ import annotations

from orchestrator.web.asgi import TenantMiddleware, current_tenant
from orchestrator.web.directory import Directory, SyncDirectory
from orchestrator.web.resolver import Tenant, TenantResolver
from orchestrator.web.sources import Claim, Header, PathSegment, Seen, Source, Subdomain

__all__ = [
    "Claim",
    "Directory",
    "Header",
    "PathSegment",
    "Seen",
    "Source",
    "Subdomain",
    "SyncDirectory",
    "Tenant",
    "TenantMiddleware",
    "TenantResolver",
    "current_tenant",
]
