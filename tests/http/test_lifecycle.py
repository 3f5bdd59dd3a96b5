"""The verbs that change a whole tenant, over the API."""

from __future__ import annotations

import httpx

from orchestrator.model.api import RenameTenant, UpdateTenant
from tests.http.platform import HandMadePlatform

JSON = {"Content-Type": "application/json"}


def test_a_registered_tenant_is_updated(api: httpx.Client, platform: HandMadePlatform) -> None:
    platform.add("globex", source="api")
    change = {"name": "Globex", "set": {"weight": 2}, "unset": ["idle_ttl"]}

    answer = api.patch("/v1/tenants/globex", json=change)

    assert (answer.status_code, answer.json()["name"]) == (200, "Globex")
    asked = UpdateTenant(name="Globex", set={"weight": 2}, unset=["idle_ttl"])
    assert platform.lifecycle.asked == [("update", "globex", asked)]


def test_a_tenant_of_a_file_is_not_updated(api: httpx.Client) -> None:
    answer = api.patch("/v1/tenants/acme-corp", json={"name": "x"})

    assert (answer.status_code, answer.json()["code"]) == (409, "tenant_declared_in_file")


def test_a_misspelt_change_is_refused(api: httpx.Client) -> None:
    answer = api.patch("/v1/tenants/acme_corp", json={"nmae": "x"})

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_a_tenant_is_disabled_with_a_reason_and_enabled(api: httpx.Client) -> None:
    off = api.post("/v1/tenants/acme-corp/disable", json={"reason": "has not paid"}).json()
    on = api.post("/v1/tenants/acme-corp/enable", headers=JSON).json()

    assert (off["enabled"], off["disabled_because"]) == (False, "has not paid")
    assert (on["enabled"], on["disabled_because"]) == (True, None)


def test_a_reason_is_one_line(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants/acme-corp/disable", json={"reason": "two\nlines"})

    assert answer.status_code == 422


def test_the_passwords_of_a_tenant_are_rotated(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants/acme-corp/rotate-credentials", headers=JSON)

    assert (answer.status_code, answer.json()["rotation"]) == (200, 3)
    assert answer.json()["old_password"] == "refused"
    assert api.post("/v1/tenants/nobody/rotate-credentials", headers=JSON).status_code == 404


def test_a_tenant_is_renamed(api: httpx.Client, platform: HandMadePlatform) -> None:
    wanted = {"to": "acme_inc", "force": True, "wait": 2.5}

    answer = api.post("/v1/tenants/acme-corp/rename", json=wanted)

    assert (answer.status_code, answer.json()["id"]) == (200, "acme_inc")
    ((verb, tenant, asked, _),) = platform.lifecycle.asked
    assert (verb, tenant) == ("rename", "acme_corp")
    assert asked == RenameTenant(to="acme_inc", force=True, wait=2.5)
    assert api.get("/v1/tenants/acme_corp").json()["id"] == "acme_inc"


def test_a_misspelt_renaming_is_refused(api: httpx.Client, platform: HandMadePlatform) -> None:
    for wrong in ({}, {"to": "x", "wait": -1}, {"to": "x", "froce": True}):
        assert api.post("/v1/tenants/acme-corp/rename", json=wrong).status_code == 422
    assert api.post("/v1/tenants/nobody/rename", json={"to": "x"}).status_code == 404
    assert platform.lifecycle.asked == []


def test_a_tenant_is_deleted(api: httpx.Client, platform: HandMadePlatform) -> None:
    deletion = {"results": "keep", "wait": "2.5"}
    answer = api.delete("/v1/tenants/acme-corp", params=deletion)

    assert (answer.status_code, answer.json()["runs_kept"]) == (200, 3)
    assert platform.lifecycle.asked == [("delete", "acme_corp", True, False, 2.5)]
    assert api.get("/v1/tenants/acme_corp").status_code == 404


def test_a_deletion_says_what_becomes_of_the_results(api: httpx.Client) -> None:
    assert api.delete("/v1/tenants/acme_corp").status_code == 422
    assert api.delete("/v1/tenants/acme_corp", params={"results": "burn"}).status_code == 422
    assert api.get("/v1/tenants/acme_corp").status_code == 200


def test_unfinished_runs_are_a_conflict(api: httpx.Client, platform: HandMadePlatform) -> None:
    platform.add("busy")

    refused = api.delete("/v1/tenants/busy", params={"results": "purge"})
    forced = api.delete("/v1/tenants/busy", params={"results": "purge", "force": "true"})

    assert (refused.status_code, refused.json()["code"]) == (409, "tenant_in_use")
    assert refused.json()["data"]["unfinished"] == 1
    assert forced.status_code == 200


def test_an_archived_tenant_is_deleted_and_erased_by_its_id(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    platform.put_away.add("globex")

    assert api.delete("/v1/tenants/globex", params={"results": "purge"}).status_code == 200
    assert api.post("/v1/tenants/globex/erase", headers=JSON).status_code == 200


def test_former_tenants_of_an_id_are_erased_whoever_the_name_leads_to(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    url = "/v1/tenants/{}/erase"

    alias = api.post(url.format("acme-corp"), params={"former": "true"}, headers=JSON)
    erased = api.post(url.format("acme_corp"), params={"former": "true"}, headers=JSON)

    assert (alias.status_code, alias.json()["code"]) == (422, "tenant_id_invalid")
    assert (erased.status_code, erased.json()["keys"]) == (200, 2)
    assert "acme_corp" in platform.views
    ((_, deed),) = platform.audit.entries
    assert (deed.operation, deed.subject) == ("tenant.erase", "former tenants")


def test_a_tenant_is_erased(api: httpx.Client, platform: HandMadePlatform) -> None:
    platform.add("busy")

    erased = api.post("/v1/tenants/acme-corp/erase", params={"wait": "2.5"}, headers=JSON)
    refused = api.post("/v1/tenants/busy/erase", headers=JSON)

    assert (erased.status_code, erased.json()["keys"]) == (200, 1)
    assert (refused.status_code, refused.json()["code"]) == (409, "tenant_in_use")
    deeds = [(tenant, each.operation, each.outcome) for tenant, each in platform.audit.entries]
    assert deeds == [
        ("acme_corp", "tenant.erase", "done"),
        ("busy", "tenant.erase", "tenant_in_use"),
    ]
