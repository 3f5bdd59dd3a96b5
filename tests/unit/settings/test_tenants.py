"""Declarations made at run time, and what a tenant is given."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import ConfigError, InvalidRequest, InvalidTenantId
from orchestrator.model.ids import TenantId
from orchestrator.settings.duration import Duration
from orchestrator.settings.model import Limits, SupervisionSection, Tenant, Tier
from orchestrator.settings.tenants import (
    declare,
    dump_declaration,
    load_declaration,
    tenant_config,
)

ACME = TenantId("acme")


def test_dotted_paths_become_a_declaration() -> None:
    id, declaration = declare(
        CreateTenant(
            id="acme",
            name="ACME",
            tier="basic",
            aliases=["Acme-1"],
            set={
                "limits.max_queue_length": 500,
                "limits.max_payload_bytes": "1MiB",
                "settings": {"a": 1},
                "settings.b.c": [2],
                "idle_ttl": "5m",
                "enabled": False,
            },
        ),
        {"basic": Tier()},
    )

    assert id == "acme"
    assert declaration == Tenant(
        name="ACME",
        tier="basic",
        aliases=["Acme-1"],
        enabled=False,
        settings={"a": 1, "b": {"c": [2]}},
        limits=Limits(max_queue_length=500, max_payload_bytes=2**20),
        idle_ttl=Duration(minutes=5),
    )


def test_the_request_is_left_as_it_was() -> None:
    given: dict[str, Any] = {"settings": {"a": 1}, "settings.b": 2}

    declare(CreateTenant(id="acme", set=given), {})

    assert given == {"settings": {"a": 1}, "settings.b": 2}


def test_every_problem_of_a_request_is_named_with_its_path() -> None:
    request = CreateTenant(
        id="Acme-1",
        name="ACME",
        tier="gold",
        aliases=["not good"],
        set={
            "limits.max_queue_length": "many",
            "limits.max_quue": 1,
            "weight.deep": 2,
            "weight": 3,
            "name": "again",
            "retention_days": 9,
        },
    )

    with pytest.raises(InvalidRequest) as caught:
        declare(request, {"basic": Tier()})

    assert caught.value.data["problems"] == [
        "id: it has upper-case letters; ids are lower case, an alias may be mixed",
        "id: it has a hyphen; ids use underscores, an alias may have hyphens",
        "weight: is set twice, or below something that is no table",
        "name: is given twice",
        "limits.max_queue_length: must be a whole number, not 'many'",
        "limits.max_quue: unknown key; did you mean 'max_queue_length'?",
        "weight: must be a whole number, not a table",
        "retention_days: unknown key; did you mean 'limits.retention_days'?",
        (
            "aliases: 'not good' can not be an alias:"
            " an alias has only ASCII letters, digits, hyphens and underscores"
        ),
        "tier: no tier 'gold' is declared; declared tiers: basic",
    ]


def test_an_id_that_alone_is_wrong_has_an_error_of_its_own() -> None:
    with pytest.raises(InvalidTenantId):
        declare(CreateTenant(id="public"), {})
    with pytest.raises(InvalidTenantId, match="at most 7 fit the role"):
        declare(CreateTenant(id="a" * 8), {}, role_prefix="p" * 53)


def test_null_means_not_given() -> None:
    request = CreateTenant(id="acme", set={"limits.max_retries": None})

    assert declare(request, {}) == ("acme", Tenant())


def test_a_declaration_survives_the_registry() -> None:
    declaration = Tenant(
        name="Ä",
        idle_ttl=Duration(minutes=5),
        limits=Limits(max_result_bytes=7),
        features={"x": True},
    )

    assert load_declaration(dump_declaration(declaration)) == declaration


@pytest.mark.parametrize("text", ["{", '{"weight": 0}', '{"unheard_of": 1}', "[]"])
def test_a_stored_declaration_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="a stored declaration is"):
        load_declaration(text)


def test_a_tier_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="tier: no tier 'gold' is declared; declared tiers: x"):
        tenant_config(ACME, Tenant(tier="gold"), {"x": Tier()}, SupervisionSection())


def test_the_idle_time_comes_from_the_nearest_that_says_it() -> None:
    supervision = SupervisionSection(idle_ttl=Duration(seconds=1))
    tiers = {"slow": Tier(idle_ttl=Duration(seconds=2))}

    own = tenant_config(ACME, Tenant(tier="slow", idle_ttl=Duration(0)), tiers, supervision)
    tier = tenant_config(ACME, Tenant(tier="slow"), tiers, supervision)
    daemon = tenant_config(ACME, Tenant(), tiers, supervision, source="api")

    assert [each.idle_ttl.total_seconds() for each in (own, tier, daemon)] == [0, 2, 1]
    assert [each.source for each in (own, daemon)] == ["file", "api"]
