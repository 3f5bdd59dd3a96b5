"""What is wrong with a configuration of which each key alone is right. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.model.ids import TenantId, alias_problems, tenant_id_problems
from orchestrator.settings.decode import Fault
from orchestrator.settings.http import listen_problems
from orchestrator.settings.model import Settings, SupervisionSection, Tenant, Tier
from orchestrator.settings.tenants import unknown_tier


def faults_in(settings: Settings) -> Iterator[Fault]:
    """Yield what keys say against each other, each fault with the path of one of them."""
    yield from _in_supervision(settings.supervision)
    for key, problem in listen_problems(settings.http):
        yield Fault(("http", key), problem)
    for name, tenant in settings.tenants.items():
        yield from _in_tenant(name, tenant, settings)
    yield from _in_aliases(settings.tenants)


def aliases_of(tenants: Mapping[str, Tenant]) -> dict[str, TenantId]:
    """Return whose each alias is, without regard to case: that of who declares it first."""
    owners: dict[str, TenantId] = {}
    for name, tenant in tenants.items():
        for alias in tenant.aliases:
            owners.setdefault(alias.casefold(), TenantId(name))
    return owners


def _in_supervision(section: SupervisionSection) -> Iterator[Fault]:
    if section.node_renewal * 2 > section.node_expiry:
        sentence = f"must be at most half of node_expiry ({section.node_expiry})"
        yield Fault(("supervision", "node_renewal"), sentence)


def _in_tenant(name: str, tenant: Tenant, settings: Settings) -> Iterator[Fault]:
    reasons = tenant_id_problems(name, role_prefix=settings.database.role_prefix)
    if reasons:
        sentence = f"{name!r} can not be a tenant id: {'; '.join(reasons)}"
        yield Fault(("tenants", name), sentence)
    if tenant.tier is not None and tenant.tier not in settings.tiers:
        yield Fault(("tenants", name, "tier"), unknown_tier(tenant.tier, settings.tiers))
    yield from _in_workflows(name, tenant, settings.tiers.get(tenant.tier or "", Tier()))


def _in_workflows(name: str, tenant: Tenant, tier: Tier) -> Iterator[Fault]:
    """Yield the schedules whose runs the tenant may not start."""
    allowed = tier.workflows if tenant.workflows is None else tenant.workflows
    if allowed is None:
        return
    for index, each in enumerate(tenant.schedules):
        if each.workflow not in allowed:
            path = ("tenants", name, "schedules", index, "workflow")
            yield Fault(path, f"the tenant may not run {each.workflow!r}")
    own = {each.name for each in tenant.schedules}
    for each in tier.schedules:
        if each.name not in own and each.workflow not in allowed:
            sentence = f"its tier's schedule {each.name!r} starts {each.workflow!r}, which"
            yield Fault(("tenants", name), f"{sentence} the tenant may not run")


def _in_aliases(tenants: Mapping[str, Tenant]) -> Iterator[Fault]:
    owners = aliases_of(tenants)
    for name, tenant in tenants.items():
        for index, alias in enumerate(tenant.aliases):
            path = ("tenants", name, "aliases", index)
            for reason in alias_problems(alias):
                yield Fault(path, f"{alias!r} can not be an alias: {reason}")
            folded = alias.casefold()
            if (owner := owners[folded]) != name:
                yield Fault(path, f"alias {alias!r} belongs to tenant {owner!r} already")
            if folded in tenants and folded != name:
                yield Fault(path, f"alias {alias!r} is the id of another tenant")
