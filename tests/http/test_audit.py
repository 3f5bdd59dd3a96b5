"""Whatever is done to a tenant over the API is in the audit: who did it, and how it ended."""

from __future__ import annotations

import os

import httpx
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from orchestrator.http.app import build_app
from orchestrator.model import errors
from tests.http.platform import SECRET, HandMadePlatform

TENANT = "/v1/tenants/acme_corp"
JSON = {"Content-Type": "application/json"}
BY_THE_APPLICATION = {"start_runs", "send_signal"}
"""What applications do all day; runs and their events are the record of it."""


def entries(api: httpx.Client, tenant: str = "acme_corp") -> list[tuple[str, str, str | None]]:
    """Return operation, subject and outcome of a tenant's entries, oldest first."""
    page = api.get(f"/v1/tenants/{tenant}/audit").json()["entries"]
    return [(each["operation"], each["subject"], each["outcome"]) for each in reversed(page)]


def test_every_verb_leaves_an_entry(api: httpx.Client) -> None:
    run = api.post(f"{TENANT}/runs", json={"workflow": "slow"}).json()["id"]
    for path in (
        *("provision", "pause", "resume", "schedules/nightly/pause", "schedules/nightly/fire"),
        *(f"runs/{run}/pause", f"runs/{run}/repeat", "dead/replay", "dead/discard"),
    ):
        assert api.post(f"{TENANT}/{path}", headers=JSON).status_code < 300, path

    assert entries(api) == [
        ("tenant.provision", "", "done"),
        ("tenant.pause", "", "done"),
        ("tenant.resume", "", "done"),
        ("schedule.pause", "nightly", "done"),
        ("schedule.fire", "nightly", "done"),
        ("run.pause", run, "done"),
        ("run.repeat", run, "done"),
        ("dead.replay", "the oldest", "done"),
        ("dead.discard", "the oldest", "done"),
    ]


def test_the_whole_life_of_a_tenant_is_told(api: httpx.Client) -> None:
    api.post("/v1/tenants", json={"id": "globex"})
    api.patch("/v1/tenants/globex", json={"name": "Globex", "set": {"weight": 2}})
    api.post("/v1/tenants/globex/disable", json={"reason": "not paid"})
    api.post("/v1/tenants/globex/enable", headers=JSON)
    api.post("/v1/tenants/globex/rotate-credentials", headers=JSON)
    api.post("/v1/tenants/globex/move", json={"to": "eu", "force": True})
    api.post("/v1/tenants/globex/rename", json={"to": "initech"})
    api.post("/v1/tenants/initech/rename", json={"to": "globex", "alias": False})
    api.delete("/v1/tenants/globex", params={"results": "keep", "force": "true"})

    assert entries(api, "globex") == [
        ("tenant.create", "", "done"),
        ("tenant.update", "name weight", "done"),
        ("tenant.disable", "not paid", "done"),
        ("tenant.enable", "", "done"),
        ("tenant.rotate_credentials", "", "done"),
        ("tenant.move", "to eu, forced", "done"),
        ("tenant.rename", "to initech", "done"),
        ("tenant.delete", "results keep, forced", "done"),
    ]


def test_what_is_done_to_the_installation_is_told_under_its_name(api: httpx.Client) -> None:
    made = api.post("/v1/tokens", json={"name": "deployment"})
    id = made.json()["view"]["id"]
    api.delete(f"/v1/tokens/{id}")
    api.delete(f"/v1/tokens/{'0' * 16}")

    assert made.headers["cache-control"] == "no-store"
    assert entries(api, "insula") == [
        ("admin_token.create", f"{id}, admin, deployment", "done"),
        ("admin_token.revoke", id, "done"),
        ("admin_token.revoke", "0" * 16, "token_not_found"),
    ]


def test_what_was_done_under_an_id_is_found_there_after_a_renaming(api: httpx.Client) -> None:
    api.post(f"{TENANT}/rename", json={"to": "initech"})
    api.post(f"{TENANT}/provision", headers=JSON)

    assert entries(api) == [("tenant.rename", "to initech", "done")]
    assert entries(api, "initech") == [("tenant.provision", "", "done")]


def handlers_of(app: Litestar) -> list[HTTPRouteHandler]:
    """Return the routes that do something to tenants."""
    return [
        handler
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler)
        and not handler.http_methods & {"GET", "OPTIONS"}
        and any(path.startswith(("/v1/tenants", "/v1/tokens")) for path in handler.paths)
    ]


def verbs_of(app: Litestar) -> list[HTTPRouteHandler]:
    """Return those whose record is the audit."""
    return [each for each in handlers_of(app) if each.fn.__name__ not in BY_THE_APPLICATION]


@pytest.mark.requirement("T10.every")
def test_no_verb_is_forgotten(platform: HandMadePlatform) -> None:
    app = build_app(platform.services())
    silent = {
        handler.fn.__name__
        for handler in handlers_of(app)
        if "record" not in handler.parsed_fn_signature.parameters
    }
    assert silent == BY_THE_APPLICATION
    assert verbs_of(app)


def test_a_refusal_is_an_outcome(api: httpx.Client, platform: HandMadePlatform) -> None:
    api.post("/v1/tenants", json={"id": "acme_corp"})
    platform.refuse = errors.TenantBusy("the mailbox is full")
    api.post(f"{TENANT}/pause", json={"workflow": "quick", "reason": "wrong figures"})
    platform.refuse = RuntimeError(SECRET)
    api.post(f"{TENANT}/pause", headers=JSON)

    assert entries(api) == [
        ("tenant.create", "", "tenant_exists"),
        ("tenant.pause", "quick (wrong figures)", "tenant_busy"),
        ("tenant.pause", "", "failed"),
    ]
    newest, busy, _ = api.get(f"{TENANT}/audit").json()["entries"]
    assert (newest["detail"], busy["detail"]) == ("RuntimeError", "the mailbox is full")


@pytest.mark.requirement("T10.before")
def test_what_can_not_be_noted_is_not_done(api: httpx.Client, platform: HandMadePlatform) -> None:
    platform.audit.refuse = errors.DatabaseUnavailable("the database does not answer")

    answer = api.post("/v1/tenants", json={"id": "globex"})

    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert api.get("/v1/tenants/globex").status_code == 404


@pytest.mark.requirement("T10.who")
def test_who_did_it_is_what_the_kernel_says(
    api: httpx.Client, web: httpx.Client, platform: HandMadePlatform
) -> None:
    for client in (api, web):
        client.post(f"{TENANT}/provision", headers={**JSON, "X-Forwarded-For": "10.0.0.1"})

    operator = platform.tokens.operator.split("_")[1]
    assert [entry.actor for _, entry in platform.audit.entries] == [
        f"uid {os.geteuid()}",
        f"token {operator} tcp 127.0.0.1",
    ]


@pytest.mark.requirement("T10.outlives")
def test_an_audit_is_read_page_by_page_also_of_a_tenant_that_is_gone(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    api.post("/v1/tenants", json={"id": "globex"})
    for _ in range(2):
        api.post("/v1/tenants/globex/provision", headers=JSON)
    platform.views.clear()

    first = api.get("/v1/tenants/globex/audit", params={"limit": 2}).json()
    rest = api.get("/v1/tenants/globex/audit", params={"cursor": first["cursor"]}).json()

    assert [each["operation"] for each in first["entries"]] == ["tenant.provision"] * 2
    assert [each["operation"] for each in rest["entries"]] == ["tenant.create"]
    assert rest["cursor"] is None
    assert api.get("/v1/tenants/nobody/audit").json()["code"] == "tenant_not_found"
    assert api.get("/v1/tenants/insula/audit").json()["entries"] == []


@pytest.mark.parametrize("cursor", ["0", "9223372036854775808", "-1", "1" * 400, "1.5", "x"])
def test_a_cursor_that_was_never_given_is_refused(api: httpx.Client, cursor: str) -> None:
    answer = api.get("/v1/tenants/acme_corp/audit", params={"cursor": cursor})

    assert answer.status_code == 422
    assert "`cursor`" in answer.json()["detail"]


@pytest.mark.parametrize("id", ["no\x00body", "\ud800", "x" * 1000])
def test_whatever_a_tenant_is_to_be_called_can_be_noted(api: httpx.Client, id: str) -> None:
    escaped = "".join(f"\\u{ord(each):04x}" for each in id)

    answer = api.post("/v1/tenants", content=f'{{"id": "{escaped}"}}', headers=JSON)

    assert answer.status_code == 422
