"""Names of tenants: an id goes before any alias, and whoever had an alias first keeps it."""

from __future__ import annotations

import pytest

from orchestrator.daemon.names import Names
from orchestrator.model.ids import TenantId
from orchestrator.settings.tenants import TenantConfig


def tenant(name: str, *aliases: str) -> TenantConfig:
    """Return a tenant with these names."""
    return TenantConfig(id=TenantId(name), name=name, aliases=aliases)


@pytest.mark.requirement("T1.alias")
def test_a_tenant_has_its_id_and_its_aliases_however_they_are_written() -> None:
    names = Names([tenant("acme", "Acme-Corp")])

    assert [names.get(each) for each in ("ACME", "acme-corp", "globex")] == ["acme", "acme", None]
    assert names.aliases == {"acme-corp": "acme"}


def test_a_letter_that_unicode_folds_into_another_is_another() -> None:
    names = Names([tenant("tasks", "Kiosk"), tenant("strasse")])

    assert [names.get(each) for each in ("ta\u017fks", "\u212aiosk", "stra\u00dfe")] == [None] * 3


def test_an_alias_is_a_files_before_it_is_one_that_was_registered() -> None:
    names = Names([tenant("acme", "corp")], [tenant("globex", "corp")])

    assert names.get("corp") == "acme"


def test_an_id_goes_before_the_alias_of_another_one() -> None:
    names = Names([tenant("acme", "globex")])
    names.add(tenant("globex"))
    assert (names.get("globex"), dict(names.aliases)) == ("globex", {})

    names.remove(tenant("globex"))

    assert names.aliases == {"globex": "acme"}


def test_an_alias_that_is_given_back_is_the_next_ones_or_nobodys() -> None:
    names = Names([], [tenant("acme", "corp"), tenant("globex", "corp")])

    names.remove(tenant("acme", "corp"))
    assert names.aliases == {"corp": "globex"}

    names.remove(tenant("globex", "corp"))
    assert (names.get("corp"), names.get("acme")) == (None, None)
