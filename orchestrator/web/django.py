"""A middleware for Django, synchronous and asynchronous.

    MIDDLEWARE = ["orchestrator.web.django.TenantMiddleware", ...]
    INSULA = {
        "url": "unix:///run/insula/insula.sock",
        "resolver": TenantResolver([Header()], exempt=["/health"]),
    }

Views find the tenant as `request.tenant`, an `orchestrator.web.Tenant`; on an exempt path there is
no such attribute. `token` may stand beside `url`, for a daemon on TCP.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from orchestrator.client.client import SyncClient
from orchestrator.model.errors import InsulaError
from orchestrator.web.directory import SyncDirectory
from orchestrator.web.refusal import MEDIA, refusal
from orchestrator.web.resolver import TenantResolver
from orchestrator.web.sources import Seen

_KNOWN = {"url", "token", "resolver"}


class TenantMiddleware:
    """Serves a request only when it is for one tenant that is enabled."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Be given what comes next; ImproperlyConfigured says what `settings.INSULA` lacks."""
        self._get_response = get_response
        self._resolver, self._tenants = _configured()
        self._is_async = bool(iscoroutinefunction(get_response))
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponse | Awaitable[HttpResponse]:
        """Serve one request, or refuse it."""
        if self._is_async:
            return self._serve(request)
        refused = self._refused(request)
        return refused or self._get_response(request)

    async def _serve(self, request: HttpRequest) -> HttpResponse:
        # In a thread of its own: it may have to ask the daemon.
        refused = await sync_to_async(self._refused, thread_sensitive=False)(request)
        return refused or await self._get_response(request)

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        """Give the request its tenant; return the answer when it can have none."""
        if self._resolver.is_exempt(request.path):
            return None
        seen = Seen(path=request.path, headers=list(request.headers.items()))
        try:
            self._resolver.prepare_now(seen)
            request.tenant = self._tenants.find(self._resolver.named(seen))
        except InsulaError as error:
            answer = refusal(error)
            return HttpResponse(
                answer.body, status=answer.status, content_type=MEDIA, headers=answer.headers
            )
        return None


def _configured() -> tuple[TenantResolver, SyncDirectory]:
    given = getattr(settings, "INSULA", None)
    if not isinstance(given, dict) or not {"url", "resolver"} <= given.keys() <= _KNOWN:
        raise ImproperlyConfigured(
            "settings.INSULA has to be a dictionary with `url`, where the daemon answers, and "
            "`resolver`, a TenantResolver; `token` may be there too"
        )
    if not isinstance(given["resolver"], TenantResolver):
        raise ImproperlyConfigured("settings.INSULA['resolver'] has to be a TenantResolver")
    client = SyncClient(given["url"], token=given.get("token"))
    return given["resolver"], SyncDirectory(client)
