"""Builds the ASGI application from what it is given."""

from __future__ import annotations

from weakref import WeakSet

import anyio
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from orchestrator.http import errors, guard
from orchestrator.http.access import Doorkeeper
from orchestrator.http.audit import record_of
from orchestrator.http.guard import Strangers
from orchestrator.http.refusals import Refusals
from orchestrator.http.routes import (
    adoption,
    archives,
    audit,
    control,
    credentials,
    dead,
    events,
    exports,
    health,
    lifecycle,
    maintenance,
    migration,
    moves,
    node,
    runs,
    schedules,
    secrets,
    statistics,
    tenants,
    tokens,
    usage,
)
from orchestrator.http.services import Services
from orchestrator.model.api import MAX_BODY
from orchestrator.model.errors import InsulaError
from orchestrator.settings.http import HttpSection

API_VERSION = "1"

_RESOURCES = (
    health,
    node,
    tenants,
    lifecycle,
    archives,
    exports,
    statistics,
    usage,
    maintenance,
    secrets,
    credentials,
    migration,
    moves,
    adoption,
    audit,
    runs,
    control,
    events,
    dead,
    schedules,
    tokens,
)


def build_app(services: Services, section: HttpSection | None = None) -> Litestar:
    """Return the API over `services`, for any ASGI server; `serve` is ours.

    `section` says what is asked of those who come over TCP: by default a token.

    >>> app = build_app(Services(platform=platform, status=status, reload=reload))  # doctest: +SKIP
    """
    section = section or HttpSection()
    return Litestar(
        [each for routes in _RESOURCES for each in routes.ROUTES],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "record": Provide(record_of, sync_to_thread=False),
        },
        guards=[
            Strangers(frozenset(section.hosts), tls=section.behind_tls_proxy),
            guard.refuse_ambiguous_paths,
            Doorkeeper(services, required=section.require_token, refusals=Refusals()),
            guard.require_media,
            guard.refuse_unknown_parameters,
        ],
        exception_handlers={
            InsulaError: errors.on_insula_error,
            HTTPException: errors.on_http_error,
            Exception: errors.on_any_error,
        },
        openapi_config=OpenAPIConfig(
            title="Insula",
            version=API_VERSION,
            description="Tenants, and their durable runs. Errors are application/problem+json.",
            path="/schema",
            render_plugins=[JsonRenderPlugin()],
            components=Components(
                security_schemes={
                    "token": SecurityScheme(
                        type="http", scheme="bearer", description="over TCP; see `insula token`"
                    )
                }
            ),
            security=[{"token": []}],
        ),
        request_max_body_size=MAX_BODY,
        state=State({"closing": anyio.Event(), "followers": WeakSet()}),
        logging_config=None,
        debug=False,
    )
