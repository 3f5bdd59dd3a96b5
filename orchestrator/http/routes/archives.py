"""Whole tenants as files: backup, restore, clone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, BinaryIO

import anyio.to_thread
from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from orchestrator.archive.manifest import Runs
from orchestrator.http.audit import Recorded
from orchestrator.http.follow import while_valid
from orchestrator.http.injected import Injected
from orchestrator.http.meant import meant
from orchestrator.http.openapi import problems
from orchestrator.http.peer import cut_off, holder_of
from orchestrator.http.progress import answer, described
from orchestrator.http.routes.lifecycle import Force, Wait
from orchestrator.http.services import Services
from orchestrator.lifecycle.files import discard
from orchestrator.model.archives import ARCHIVE, ArchivedTenant, RestoredTenant
from orchestrator.model.errors import Unauthenticated
from orchestrator.model.progress import Report

PIECE = 1 << 18
"""Bytes of a file that are sent at a time."""

AnyRuns = Annotated[Runs, QueryParameter(description="which of its runs are taken along")]
ChosenRuns = Annotated[
    Runs | None,
    QueryParameter(
        description="which runs are taken along: all of them, or under another id only those that "
        "have finished"
    ),
]
Of = Annotated[
    str | None,
    QueryParameter(description="whose archive it is, when it is another tenant's", max_length=63),
]
Foreign = Annotated[
    bool, QueryParameter(description="it may be an archive of another installation")
]
OnShard = Annotated[
    str | None,
    QueryParameter(
        description="the shard that it is made on: one of [shards.*], or control; a restored "
        "tenant is made where it is declared, a clone beside the other, and one that was archived "
        "where it lived",
        max_length=32,
    ),
]
Into = Annotated[str, QueryParameter(description="the id of the tenant that is made")]


@post(
    "/v1/tenants/{tenant:str}/backup",
    status_code=200,
    tags=["tenants"],
    responses={
        200: ResponseSpec(
            bytes, generate_examples=False, description="The archive", media_type=ARCHIVE
        ),
        **problems(403, 404, 422, 503),
    },
)
async def backup_tenant(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    runs: AnyRuns = "all",
) -> Response[Any]:
    """Send the archive of a tenant as it is now. It is held by nothing and goes on meanwhile."""
    known_as = services.platform.resolve(tenant)
    async with record.of(known_as, "tenant.backup", f"runs {runs}"):
        spool = await services.archives.backup(known_as, runs=runs)
    return await sent(spool, request, services)


@post(
    "/v1/tenants/{tenant:str}/restore",
    status_code=200,
    tags=["tenants"],
    opt={"media": ARCHIVE},
    request_max_body_size=None,
    responses={
        200: described(RestoredTenant, "The tenant that was made"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def restore_tenant(  # noqa: PLR0913 - one parameter for each of the request's
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    of: Of = None,
    runs: ChosenRuns = None,
    foreign: Foreign = False,
    to: OnShard = None,
) -> Response[Any]:
    """Make a tenant that is not there of the archive in the body: all of it, or nothing."""
    known_as = meant(services, tenant)
    how = ", ".join(filter(None, [f"of {of}" if of else "", f"to {to}" if to else ""]))
    async with record.refusal(known_as, "tenant.restore", how):
        spool = await received(request, services)

    async def make(report: Report) -> RestoredTenant:
        with spool:
            async with record.of(known_as, "tenant.restore", how):
                return await services.archives.restore(
                    known_as, spool, of=of, runs=runs, foreign=foreign, to=to, report=report
                )

    return await answer(request, make)


@post(
    "/v1/tenants/{tenant:str}/clone",
    status_code=200,
    tags=["tenants"],
    responses={
        200: described(RestoredTenant, "The tenant that was made"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def clone_tenant(  # noqa: PLR0913 - one parameter for each of the request's
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    into: Into,
    runs: AnyRuns = "none",
    to: OnShard = None,
) -> Response[Any]:
    """Make another tenant like this one, which goes on meanwhile: all of it, or nothing."""
    known_as, made = services.platform.resolve(tenant), meant(services, into)

    async def make(report: Report) -> RestoredTenant:
        where = f", to {to}" if to else ""
        async with record.of(made, "tenant.clone", f"of {known_as}, runs {runs}{where}"):
            return await services.archives.clone(known_as, made, runs=runs, to=to, report=report)

    return await answer(request, make)


@post(
    "/v1/tenants/{tenant:str}/archive",
    status_code=200,
    tags=["tenants"],
    responses={
        200: described(ArchivedTenant, "Where the tenant is now"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def archive_tenant(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    force: Force = False,
    wait: Wait = 0.0,
) -> Response[Any]:
    """Write the tenant into a file on the server, and drop it. Unfinished runs keep it."""
    known_as = meant(services, tenant)

    async def put_away(report: Report) -> ArchivedTenant:
        async with record.of(known_as, "tenant.archive", "forced" if force else ""):
            return await services.lifecycle.archive(known_as, force=force, wait=wait, report=report)

    return await answer(request, put_away)


@post(
    "/v1/tenants/{tenant:str}/unarchive",
    status_code=200,
    tags=["tenants"],
    responses={
        200: described(RestoredTenant, "The tenant that is back"),
        **problems(403, 404, 409, 422, 503),
    },
)
async def unarchive_tenant(
    request: Request[Any, Any, Any],
    services: Injected,
    record: Recorded,
    tenant: FromPath[str],
    to: OnShard = None,
) -> Response[Any]:
    """Bring an archived tenant back as it was; what it had to do goes on."""
    known_as = meant(services, tenant)

    async def bring_back(report: Report) -> RestoredTenant:
        async with record.of(known_as, "tenant.unarchive", f"to {to}" if to else ""):
            return await services.archives.unarchive(known_as, report, to=to)

    return await answer(request, bring_back)


async def sent(spool: BinaryIO, request: Request[Any, Any, Any], services: Services) -> Stream:
    """Return the answer that has the whole of a file in it, and closes it.

    Raises Unauthenticated when the token has become void while the file was made; one that does so
    while it is sent cuts it off.
    """
    pieces, holder = _pieces(spool), holder_of(request)
    if holder is not None:
        with _closed_on_error(spool):
            if not await services.tokens.is_live(holder):
                raise Unauthenticated
        pieces = while_valid(pieces, services.tokens, holder, end=partial(cut_off, request))
    size = spool.seek(0, 2)
    spool.seek(0)
    return Stream(pieces, media_type=ARCHIVE, headers={"Content-Length": str(size)})


async def received(request: Request[Any, Any, Any], services: Services) -> BinaryIO:
    """Return the body of a request as a file; whoever goes away in the middle leaves nothing."""
    spool = await services.archives.spool()
    with _closed_on_error(spool):
        async for piece in request.stream():
            await services.archives.keep(spool, piece)
    return spool


@contextmanager
def _closed_on_error(spool: BinaryIO) -> Iterator[None]:
    try:
        yield
    except BaseException:
        discard(spool)
        raise


async def _pieces(spool: BinaryIO) -> AsyncGenerator[bytes]:
    with spool:
        while piece := await anyio.to_thread.run_sync(spool.read, PIECE):
            yield piece


ROUTES = (backup_tenant, restore_tenant, clone_tenant, archive_tenant, unarchive_tenant)
"""What the API does with tenants as files."""
