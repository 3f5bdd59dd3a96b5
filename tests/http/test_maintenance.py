"""The care for a tenant's tables, over the API."""

from __future__ import annotations

import httpx

MAINTAIN = "/v1/tenants/acme-corp/maintain"
JSON = {"Content-Type": "application/json"}


def test_tables_are_cared_for_a_few_a_request(api: httpx.Client) -> None:
    first = api.post(MAINTAIN, headers=JSON).json()
    rest = api.post(MAINTAIN, headers=JSON, params={"after": "flight"}).json()

    assert (first["tables"][0]["name"], first["left"]) == ("boarding", 2)
    assert (rest["tables"][0]["name"], rest["left"]) == ("seat", 0)
    audit = api.get("/v1/tenants/acme_corp/audit").json()["entries"]
    assert [(each["operation"], each["subject"]) for each in audit] == [
        ("tenant.maintain", "after flight"),
        ("tenant.maintain", ""),
    ]


def test_a_statement_has_a_bound(api: httpx.Client) -> None:
    for seconds in ("0", "-1", "1e9"):
        answer = api.post(MAINTAIN, headers=JSON, params={"statement_seconds": seconds})
        assert answer.status_code == 422
