"""Tenants over the API."""

from __future__ import annotations

import httpx


def test_a_tenant_is_created_and_then_listed_and_shown(api: httpx.Client) -> None:
    body = {"id": "globex", "tier": "basic", "set": {"limits.max_queue_length": 500}}

    created = api.post("/v1/tenants", json=body)

    assert created.status_code == 201
    listed = api.get("/v1/tenants").json()["tenants"]
    assert [each["id"] for each in listed] == ["acme_corp", "globex"]
    assert api.get("/v1/tenants/globex").json() == created.json()


def test_an_id_is_refused_with_all_reasons(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants", json={"id": "Acme Corp"})

    assert answer.status_code == 422
    assert answer.json()["code"] == "tenant_id_invalid"
    assert len(answer.json()["data"]["reasons"]) == 2


def test_a_taken_id_is_a_conflict(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants", json={"id": "acme_corp"})

    assert (answer.status_code, answer.json()["code"]) == (409, "tenant_exists")


def test_a_tenant_is_provisioned_on_request(api: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}

    answer = api.post("/v1/tenants/acme-corp/provision", headers=headers)

    assert (answer.status_code, answer.json()["engine_version"]) == (200, 1)


def test_a_tenant_says_why_it_does_not_run(api: httpx.Client) -> None:
    found = api.get("/v1/tenants/acme-corp/why").json()

    assert (found["tenant"], found["because"]) == ("acme_corp", "it needs somebody: no right")
    assert found["transitions"][0]["state"] == "quarantined"
    assert api.get("/v1/tenants/nobody/why").status_code == 404
