"""Requests to an ASGI application, and which of them it sees."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import Depends, FastAPI

from orchestrator.client.client import Client
from orchestrator.model.errors import TenantNotNamed
from orchestrator.web import Tenant, TenantMiddleware, current_tenant
from orchestrator.web.asgi import App, Message, Receive, Scope, Send
from orchestrator.web.fastapi import RequestTenant
from tests.http.serving import Served
from tests.web.conftest import RESOLVER


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Say for whom the request was; an exempt path is for nobody."""
    tenant: Tenant | None = scope.get("state", {}).get("tenant")
    said = "nobody" if tenant is None else f"{tenant.id} {current_tenant().id} by {tenant.named_by}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": said.encode()})


@pytest.fixture
async def client(daemon: Served) -> AsyncIterator[Client]:
    async with Client(daemon.unix) as opened:
        yield opened


@pytest.fixture
async def web(client: Client) -> AsyncIterator[httpx.AsyncClient]:
    """Return a visitor of the application behind the middleware."""
    async with visiting(TenantMiddleware(app, RESOLVER, client)) as visitor:
        yield visitor


def visiting(served: App) -> httpx.AsyncClient:
    """Return a visitor of an application."""
    transport = httpx.ASGITransport(served)
    return httpx.AsyncClient(transport=transport, base_url="http://app")


@pytest.mark.requirement("T11.frameworks")
async def test_a_request_is_served_for_the_tenant_that_all_its_sources_name(
    web: httpx.AsyncClient,
) -> None:
    answer = await web.get("/t/acme_corp/x", headers={"X-Tenant-ID": "ACME-corp"})
    assert answer.text == "acme_corp acme_corp by header X-Tenant-ID"
    with pytest.raises(TenantNotNamed):
        current_tenant()


async def test_a_path_that_is_exempt_is_served_for_nobody(web: httpx.AsyncClient) -> None:
    assert (await web.get("/health/live")).text == "nobody"


@pytest.mark.parametrize(
    ("path", "named", "status", "code"),
    [
        ("/", None, 400, "tenant_not_named"),
        ("/", "nobody", 404, "tenant_not_found"),
        ("/", "dormouse", 403, "tenant_suspended"),
        ("/t/acme_corp", "dormouse", 403, "tenant_conflict"),
    ],
)
async def test_any_other_request_is_refused_without_a_word_of_how_the_place_is_run(
    web: httpx.AsyncClient, path: str, named: str | None, status: int, code: str
) -> None:
    answer = await web.get(path, headers={"X-Tenant-ID": named} if named else {})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hint" not in answer.json()
    assert "insula" not in answer.text


async def test_a_tenant_that_is_made_now_is_found_at_once(
    daemon: Served, web: httpx.AsyncClient
) -> None:
    daemon.platform.add("brand_new")
    answer = await web.get("/t/brand_new")
    assert answer.text.startswith("brand_new ")


async def test_while_nobody_can_tell_the_tenants_the_visitor_is_asked_to_come_again() -> None:
    async with (
        Client("unix:///nowhere/insula.sock", retries=0) as client,
        visiting(TenantMiddleware(app, RESOLVER, client)) as visitor,
    ):
        answers = [await visitor.get("/t/acme_corp") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].headers["retry-after"] == "5"
    assert "/nowhere" not in answers[0].text


async def test_a_web_socket_is_refused_before_it_is_opened(client: Client) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/t/nobody", "headers": []}
    await TenantMiddleware(app, RESOLVER, client)(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "tenant_not_found"}]


@pytest.mark.requirement("T11.frameworks")
async def test_a_route_of_fastapi_asks_for_its_tenant(client: Client) -> None:
    api = FastAPI()
    tenant_of = RequestTenant(RESOLVER, client)

    @api.get("/reports")
    async def reports(tenant: Tenant = Depends(tenant_of)) -> str:
        return tenant.id

    async with visiting(api) as visitor:
        served = await visitor.get("/reports", headers={"X-Tenant-ID": "acme-corp"})
        refused = await visitor.get("/reports", headers={"X-Tenant-ID": "nobody"})
    assert (served.status_code, served.json()) == (200, "acme_corp")
    assert refused.status_code == 404
    assert refused.json()["detail"]["code"] == "tenant_not_found"
