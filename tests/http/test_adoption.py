"""A schema becomes a tenant, over the API."""

from __future__ import annotations

import httpx

ADOPT = "/v1/tenants/acme-corp/adopt"


def test_a_schema_is_adopted_and_the_audit_says_so(api: httpx.Client) -> None:
    answer = api.post(ADOPT, json={"schema": "legacy", "at": 3})
    refused = api.post(ADOPT, json={"schema": "insula"})

    assert (answer.status_code, answer.json()["at"]) == (200, 3)
    assert (refused.status_code, refused.json()["code"]) == (409, "adoption_refused")
    assert refused.json()["data"]["obstacles"] == ["it is not one of the application's"]
    audit = api.get("/v1/tenants/acme_corp/audit").json()["entries"]
    assert [(each["operation"], each["subject"], each["outcome"]) for each in audit] == [
        ("tenant.adopt", "schema insula", "adoption_refused"),
        ("tenant.adopt", "schema legacy", "done"),
    ]


def test_what_can_not_be_meant_is_refused(api: httpx.Client) -> None:
    for wanted in ({}, {"schema": ""}, {"schema": "x" * 64}, {"schema": "x", "at": -1}):
        assert api.post(ADOPT, json=wanted).status_code == 422
