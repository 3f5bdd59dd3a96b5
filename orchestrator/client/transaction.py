"""Starts runs inside the application's own database transaction, over the driver it uses already.

    async with connection.transaction():
        await connection.execute("INSERT INTO orders …")
        await enqueue(connection, "acme_corp", "ship_order", {"order": 7}, key="order-7")

Neither driver is imported: a connection is known by what it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeAlias, TypedDict, Unpack
from uuid import UUID

import msgspec

from orchestrator.client.content import storable
from orchestrator.model.errors import InsulaError, InvalidInput, revive
from orchestrator.model.text import line_problem
from orchestrator.workflow.define import Workflow

_SUBMIT = (
    "SELECT insula.submit("
    "tenant => {}::text, workflow => {}::text, input => {}::text::jsonb, key => {}::text,"
    " queue => {}::text, priority => {}::int, version => {}::text, at => {}::timestamptz,"
    " tags => {}::text[])::text"
)
_ASYNCPG = _SUBMIT.format(*(f"${number}" for number in range(1, 10)))
_PSYCOPG = _SUBMIT.format(*["%s"] * 9)

_CODES = {
    "IN403": "not_allowed",
    "IN404": "tenant_not_found",
    "IN410": "tenant_removed",
    "IN421": "tenant_elsewhere",
    "IN422": "input_invalid",
    "IN423": "tenant_suspended",
    "IN424": "tenant_archived",
    "IN425": "tenant_held",
    "IN429": "quota_exceeded",
    "IN503": "tenant_starting",
}
"""The errors of `insula.submit`, and ours."""


class Asyncpg(Protocol):
    """What is used of a connection of asyncpg."""

    def is_in_transaction(self) -> bool: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...


class Psycopg(Protocol):
    """What is used of an AsyncConnection of psycopg."""

    def cursor(self, *, row_factory: Callable[[Any], Callable[[Sequence[Any]], Any]]) -> Any: ...


Connection: TypeAlias = Asyncpg | Psycopg


class Options(TypedDict, total=False):
    """What else can be said of a run.

    `key`: the same key gives the same run again. `version`: that one and no other; left out, the
    latest that is served. `at`: not before that time.
    """

    key: str | None
    queue: str
    priority: int
    version: str | None
    at: datetime | None
    tags: Sequence[str]


async def enqueue(
    connection: Connection,
    tenant: str | None,
    workflow: str | Workflow,
    input: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> UUID:
    """Start a run within the transaction that `connection` is in, and return its id.

    The run is there when that transaction commits, and never was when it rolls back; a dormant
    tenant wakes for it. `tenant` is an id, not an alias; None is the tenant that the workflow was
    bound to where it was defined. The connection is one of asyncpg or an async one of psycopg, to
    the tenant's database, under a role with EXECUTE on `insula.submit`. Raises InvalidInput,
    TenantNotFound, TenantSuspended, TenantRemoved, TenantElsewhere (on another shard),
    TenantStarting (not provisioned yet), NotAllowed or QuotaExceeded; what comes from the database
    has failed the transaction, as every SQL error does. See `insula_error` for one that COMMIT
    raises.

    >>> await enqueue(connection, "acme_corp", "report", {"month": 1})  # doctest: +SKIP
    UUID('019b7612-0000-7a3e-9c55-0e8d0f6c1b2a')
    """
    tenant, workflow = _bound(tenant, workflow)
    arguments = _arguments(tenant, workflow, input or {}, options)
    try:
        return UUID(await _ask(connection, arguments))
    except Exception as error:
        ours = _translated(error, tenant)
        if ours is None:
            raise
        raise ours from error


def _bound(tenant: str | None, workflow: str | Workflow) -> tuple[str, str]:
    """Return the names of both; InvalidInput when nothing says which tenant, or both differ."""
    bound = workflow.tenant if isinstance(workflow, Workflow) else None
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    if tenant is None and bound is None:
        problem = "$.tenant: is required, as the workflow is bound to none"
    elif None not in {tenant, bound} and tenant != bound:
        problem = f"$.tenant: workflow {name!r} is of tenant {bound!r} alone"
    else:
        return tenant or bound or "", name
    raise InvalidInput(problem, hint="nothing was sent", data={"problems": [problem]})


async def _ask(connection: Any, arguments: Sequence[object]) -> str:
    id: str
    # A pool of asyncpg has `fetchval` too, but no transaction.
    if hasattr(connection, "fetchval") and hasattr(connection, "is_in_transaction"):
        id = await connection.fetchval(_ASYNCPG, *arguments)
        return id
    if hasattr(connection, "cursor") and hasattr(connection, "__aenter__"):
        # Its own row factory, whatever the application has set: the one value of the row.
        async with connection.cursor(row_factory=_only_value) as cursor:
            await cursor.execute(_PSYCOPG, arguments)
            id = await cursor.fetchone()
        return id
    raise TypeError(
        "enqueue takes a connection of asyncpg or an AsyncConnection of psycopg,"
        f" not {type(connection).__module__}.{type(connection).__qualname__}; from SQLAlchemy:"
        " (await connection.get_raw_connection()).driver_connection"
    )


def _only_value(_cursor: Any) -> Callable[[Sequence[Any]], Any]:
    return lambda values: values[0]


def _arguments(
    tenant: str, workflow: str, input: Mapping[str, Any], options: Options
) -> tuple[object, ...]:
    """Return the arguments of `insula.submit`; raises InvalidInput before anything is sent."""
    if unknown := sorted(options.keys() - Options.__annotations__.keys()):
        raise TypeError(f"enqueue knows no option {', '.join(unknown)}")
    given: object = options.get("tags", ())  # callers need not check their types
    tags = [*options.get("tags", ())]
    key, version = options.get("key"), options.get("version")
    queue = options.get("queue", "default")
    at: object = options.get("at")
    priority: object = options.get("priority", 0)
    texts = [("tenant", tenant), ("workflow", workflow), ("key", key), ("queue", queue)]
    texts += [("version", version), *(("tags", tag) for tag in tags)]
    problems = [
        f"$.{name}: {problem}"
        for name, text in texts
        if text is not None and (problem := _text_problem(text))
    ]
    if not isinstance(priority, int) or not 0 <= priority <= 9:
        problems.append(f"$.priority: is from 0 to 9, got {priority!r}")
    if at is not None and (not isinstance(at, datetime) or at.tzinfo is None):
        problems.append("$.at: is a time with its zone")
    if isinstance(given, str):
        problems.append("$.tags: is a list of texts")
    encoded = _encoded(input, problems)
    if problems:
        raise InvalidInput(
            "; ".join(problems), hint="nothing was sent", data={"problems": problems}
        )
    return tenant, workflow, encoded, key, queue, priority, version, at, tags


def _encoded(input: Mapping[str, Any], problems: list[str]) -> str:
    try:
        return storable("it", input).decode()
    except (TypeError, ValueError) as error:
        problems.append(f"$.input: {error}")
        return ""


def _text_problem(text: object) -> str:
    return line_problem(text) if isinstance(text, str) else "is text"


def insula_error(error: BaseException) -> InsulaError | None:
    """Return what an error of either driver says of Insula, None for any other.

    `enqueue` raises its errors as ours. Of a limit that others reach while your transaction is
    open, only its COMMIT can tell:

    >>> try:  # doctest: +SKIP
    ...     async with connection.transaction():
    ...         await enqueue(connection, "acme_corp", "report")
    ... except asyncpg.PostgresError as error:
    ...     raise insula_error(error) or error
    """
    return _translated(error, None)


def _translated(error: BaseException, tenant: str | None) -> InsulaError | None:
    """Return the error of ours that `insula.submit` raised; both drivers carry it their own way."""
    details = getattr(error, "diag", None)
    code = _CODES.get(getattr(error, "sqlstate", None) or getattr(details, "sqlstate", None) or "")
    if code is None:
        return None
    sentence = getattr(details, "message_primary", None) or str(error.args[0])
    hint = getattr(details, "message_hint", None) or getattr(error, "hint", None) or ""
    detail = getattr(details, "message_detail", None) or getattr(error, "detail", None)
    data: dict[str, Any] = {} if tenant is None else {"tenant": tenant}
    if code == "quota_exceeded" and detail:
        told = msgspec.json.decode(detail)
        data.update((name, told[name]) for name in ("tenant", "limit", "allowed", "retry_after"))
    return revive(code, sentence, hint, data)
