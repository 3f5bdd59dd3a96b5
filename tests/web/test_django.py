"""Requests to a Django application, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, override_settings
from django.test import Client as Browser
from django.urls import path

from tests.http.serving import LEAVES_A_SOCKET, Served
from tests.web.conftest import RESOLVER


def view(request: HttpRequest, **_: str) -> HttpResponse:
    """Say for whom the request was."""
    return HttpResponse(getattr(request, "tenant", SimpleNamespace(id="nobody")).id)


async def async_view(request: HttpRequest) -> HttpResponse:
    """Do the same in the event loop."""
    return view(request)


urlpatterns = [
    path("t/<tenant>/", view),
    path("async/", async_view),
    path("health/", view),
]

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["orchestrator.web.django.TenantMiddleware"],
)
django.setup()


pytestmark = [LEAVES_A_SOCKET, pytest.mark.usefixtures("left_sockets")]
# Django makes a middleware for each of its browsers, and ends none.


@pytest.fixture
def installed(daemon: Served) -> Iterator[None]:
    with override_settings(INSULA={"url": daemon.unix, "resolver": RESOLVER}):
        yield


@pytest.mark.usefixtures("installed")
@pytest.mark.requirement("T11.frameworks")
def test_a_view_finds_the_tenant_of_its_request() -> None:
    browser = Browser()
    assert browser.get("/t/acme-corp/").content == b"acme_corp"
    assert browser.get("/health/").content == b"nobody"


@pytest.mark.usefixtures("installed")
async def test_an_asynchronous_view_finds_it_too() -> None:
    browser = AsyncClient()
    answer = await browser.get("/async/", headers={"x-tenant-id": "acme_corp"})
    assert answer.content == b"acme_corp"
    assert (await browser.get("/async/")).status_code == 400


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("where", "named", "status", "code"),
    [
        ("/t/nobody/", None, 404, "tenant_not_found"),
        ("/t/dormouse/", None, 403, "tenant_suspended"),
        ("/t/acme_corp/", "dormouse", 403, "tenant_conflict"),
    ],
)
def test_a_request_that_is_for_no_tenant_is_refused(
    where: str, named: str | None, status: int, code: str
) -> None:
    answer = Browser().get(where, headers={"x-tenant-id": named} if named else {})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"url": "x"},
        {"url": "x", "resolver": "y"},
        {"url": "x", "resolver": RESOLVER, "z": 1},
    ],
)
def test_a_wrong_setting_is_told_at_the_start(given: Any) -> None:
    with override_settings(INSULA=given), pytest.raises(ImproperlyConfigured, match="INSULA"):
        Browser().get("/health/")
