"""Which tenant the path of a request means, also when it is not served."""

from __future__ import annotations

from orchestrator.http.services import Services
from orchestrator.model.errors import TenantArchived, TenantNotFound
from orchestrator.model.ids import TenantId, parse_tenant_id


def kept(services: Services, name: str) -> TenantId:
    """Return the tenant of that id or alias, also an archived one; TenantNotFound."""
    try:
        return services.platform.resolve(name)
    except TenantArchived as error:
        return TenantId(error.tenant)


def meant(services: Services, name: str) -> TenantId:
    """Return the tenant of that id or alias; one that is not there has its id alone."""
    try:
        return kept(services, name)
    except TenantNotFound:
        return parse_tenant_id(name)
