"""Secrets over the API: in, and never out again."""

from __future__ import annotations

import httpx
import pytest

from tests.http.platform import HandMadePlatform

SECRETS = "/v1/tenants/acme-corp/secrets"
JSON = {"Content-Type": "application/json"}
PLAIN = "k-7f3a"


def test_a_secret_is_stored_listed_without_its_value_and_deleted(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    stored = api.put(f"{SECRETS}/api_key", json={"value": PLAIN})
    listed = api.get(SECRETS)
    rotated = api.post("/v1/tenants/acme-corp/rotate-key", headers=JSON)

    assert platform.secrets.values == {("acme_corp", "api_key"): PLAIN}
    assert [each["name"] for each in listed.json()["secrets"]] == ["api_key"]
    assert rotated.json() == {"tenant": "acme_corp", "secrets": 1}
    gone = api.delete(f"{SECRETS}/api_key")
    again = api.delete(f"{SECRETS}/api_key")

    assert gone.json() == {"tenant": "acme_corp", "deleted": "api_key"}
    assert (again.status_code, again.json()["code"]) == (404, "secret_not_found")
    audit = api.get("/v1/tenants/acme_corp/audit")
    assert [
        (each["operation"], each["subject"], each["outcome"]) for each in audit.json()["entries"]
    ] == [
        ("secret.delete", "api_key", "secret_not_found"),
        ("secret.delete", "api_key", "done"),
        ("tenant.rotate_key", "", "done"),
        ("secret.set", "api_key", "done"),
    ]
    for answer in (stored, listed, rotated, gone, again, audit):
        assert PLAIN not in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_route_reads_a_value(api: httpx.Client, method: str) -> None:
    api.put(f"{SECRETS}/api_key", json={"value": PLAIN})

    answer = api.request(method, f"{SECRETS}/api_key", headers=JSON)

    assert answer.status_code == 405
    assert PLAIN not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"value": ""},
        {"value": [PLAIN]},
        {"value": f"{PLAIN}{'x' * 65536}"},
        {"values": PLAIN},
        {"value": PLAIN, PLAIN: 1},
        PLAIN,
    ],
)
def test_a_body_that_does_not_fit_is_refused_without_being_shown(
    api: httpx.Client, body: object
) -> None:
    answer = api.put(f"{SECRETS}/api_key", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert PLAIN not in answer.text
    assert PLAIN not in api.get("/v1/tenants/acme_corp/audit").text


@pytest.mark.parametrize("name", ["-x", "a b", "x" * 129, "k%0a"])
def test_a_name_can_stand_in_a_path(api: httpx.Client, name: str) -> None:
    assert api.put(f"{SECRETS}/{name}", json={"value": PLAIN}).status_code == 422


def test_credentials_are_handed_out_over_the_control_socket_alone(
    api: httpx.Client, web: httpx.Client
) -> None:
    given = api.post("/v1/tenants/acme-corp/credentials", headers=JSON).json()
    refused = web.post("/v1/tenants/acme-corp/credentials", headers=JSON)

    assert given["url"] == "postgresql://a_acme_corp:pw@/db"
    assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
    entries = api.get("/v1/tenants/acme_corp/audit").json()["entries"]
    assert [(each["operation"], each["outcome"]) for each in entries] == [
        ("tenant.credentials", "not_allowed"),
        ("tenant.credentials", "done"),
    ]
