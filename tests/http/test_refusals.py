"""Every verb that is refused is in the audit as well: who asked for it, and why it was not done."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar.handlers import HTTPRouteHandler

from orchestrator.http.app import build_app
from orchestrator.http.services import Services
from orchestrator.model import errors
from tests.http.platform import HandMadePlatform
from tests.http.serving import serving
from tests.http.test_audit import verbs_of

PATH = {
    "tenant": "acme_corp",
    "name": "nightly",
    "run": str(UUID(int=1)),
    "verb": "pause",
    "token": "0" * 16,
}
BODIES: dict[str, Any] = {
    "create_tenant": {"id": "acme_corp"},
    "update_tenant": {"name": "Acme"},
    "adopt_schema": {"schema": "public"},
    "rename_tenant": {"to": "initech"},
    "move_tenant": {"to": "eu"},
    "put_secret": {"value": "x"},
}
QUERIES = {"delete_tenant": {"results": "purge"}, "clone_tenant": {"into": "acme_corp"}}
PARTS = (
    *("dead", "schedules", "lifecycle", "moves", "archives", "maintenance", "secrets"),
    *("migrations", "adoption"),
)


class Refusing:
    """A part of the platform that refuses whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: object, **__: object) -> None:
            raise errors.TenantBusy("the mailbox is full")

        return refuse


class RefusingTokens(Refusing):
    """Knows whose a token is: none of them is a tenant's."""

    async def owner_of(self, _: str) -> None:
        return None


class RefusingRoot(Refusing):
    """The platform itself, which knows its tenants and does nothing for them."""

    def __init__(self, platform: HandMadePlatform) -> None:
        self.resolve = platform.resolve


class RefusingPlatform(HandMadePlatform):
    """Knows tenants, and writes its audit."""

    def services(self) -> Services:
        parts: dict[str, Any] = {name: Refusing() for name in PARTS}
        parts |= {"platform": RefusingRoot(self), "tokens": RefusingTokens()}
        return replace(super().services(), **parts)


def requests(handlers: list[HTTPRouteHandler]) -> Iterator[dict[str, Any]]:
    """Yield a request for each verb."""
    for handler in handlers:
        name = handler.fn.__name__
        media = handler.opt.get("media", "application/json")
        (method,) = handler.http_methods
        path = re.sub(r"\{(\w+):\w+\}", lambda m: PATH[m[1]], min(handler.paths))
        yield {
            "method": method,
            "url": path,
            "params": QUERIES.get(name),
            "headers": {"Content-Type": media},
            **({"json": BODIES[name]} if name in BODIES else {"content": b""}),
        }


@pytest.mark.requirement("T10.outcome")
def test_a_verb_that_is_refused_is_in_the_audit_with_the_reason(tmp_path: Path) -> None:
    platform = RefusingPlatform()
    platform.add("acme_corp")
    verbs = verbs_of(build_app(platform.services()))
    with (
        serving(platform, tmp_path / "socket") as served,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(served.path))) as client,
    ):
        for request in requests(verbs):
            url = f"http://insula{request.pop('url')}"
            platform.audit.entries.clear()
            answer = client.request(url=url, **request)
            assert answer.json()["code"] == "tenant_busy", url
            told = [(entry.outcome, entry.detail) for _, entry in platform.audit.entries]
            assert told == [("tenant_busy", "the mailbox is full")], url
    assert len(verbs) > 25
