"""What a running task sees and may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Literal, Protocol, TypeVar, get_args
from uuid import UUID

import msgspec
import structlog

from orchestrator.model.errors import InsulaError, QuotaExceeded
from orchestrator.settings.duration import Duration
from orchestrator.workflow.cache import Cache, NoCache
from orchestrator.workflow.durable import (
    AttemptOver,
    Child,
    ChildRequest,
    Durability,
    Inline,
    OnClose,
)
from orchestrator.workflow.secret import GivenSecrets, Revealed, Secret, Secrets
from orchestrator.workflow.task import Task

_LOG: structlog.typing.FilteringBoundLogger = structlog.get_logger("task")
T = TypeVar("T")
Isolation = Literal["read committed", "repeatable read", "serializable"]


class TenantInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant a task runs for, as declared.

    `settings`, `features` and `limits` have its tier merged in.
    """

    id: str = "test"
    name: str = "test"
    origin: str | None = None
    """The id that it was made under, when it was renamed since."""

    settings: dict[str, Any] = {}
    features: dict[str, bool] = {}
    limits: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """Which attempt at which task of which run."""

    run_id: UUID = UUID(int=0)
    task: str = "task"
    attempt: int = 1

    def __str__(self) -> str:
        return f"task {self.task!r} of run {self.run_id}"


class Row(Protocol):
    """One row of an answer: by column name or position."""

    def __getitem__(self, key: str | int, /) -> Any: ...
    def keys(self) -> Iterable[str]: ...
    def items(self) -> Iterable[tuple[str, Any]]: ...


class Queries(Protocol):
    """SQL with `$1` parameters, as the tenant's application role, on the tenant's schema."""

    async def fetch(self, query: str, *args: object) -> Sequence[Row]: ...
    async def fetchrow(self, query: str, *args: object) -> Row | None: ...
    async def fetchval(self, query: str, *args: object) -> Any: ...
    async def execute(self, query: str, *args: object) -> str: ...
    async def executemany(self, query: str, args: Iterable[Sequence[object]]) -> None: ...


class Transaction(Queries, Protocol):
    """The same inside one transaction, and COPY."""

    async def copy_records(
        self, table: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str: ...


class Database(Queries, Protocol):
    """The tenant's own database access, from a small pool; a task never shares the engine's."""

    def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AbstractAsyncContextManager[Transaction]: ...


class NoDatabase(InsulaError):
    """The context was made without a database, as in a plain unit test."""

    code = "no_database"


class Context:
    """What a task gets as its first argument.

    Built by the engine; in a unit test build it yourself: `Context(input={"file": "a.csv"})`.
    `input` is what the run was started with. `get` and `set` work on the run's context: a task sees
    the input and what its ancestors set, siblings do not see each other.
    """

    def __init__(  # noqa: PLR0913 - all by name; a test gives the few it needs
        self,
        *,
        input: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        tenant: TenantInfo | Callable[[], TenantInfo] | None = None,
        database: Database | None = None,
        current: Current | None = None,
        durable: Durability | None = None,
        secrets: Secrets | Mapping[str, str] | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.input: dict[str, Any] = dict(input or {})
        self._tenant = tenant or TenantInfo
        current = current or Current()
        self.run_id = current.run_id
        self.task = current.task
        self.attempt = current.attempt
        self.log = _LOG
        self.changes: dict[str, Any] = {}
        self._values = {**self.input, **(values or {})}
        self._outputs = {} if outputs is None else outputs
        self._database = database
        self._durable = durable or Inline()
        if secrets is None or isinstance(secrets, Mapping):
            secrets = GivenSecrets(self.tenant.id, secrets or {})
        self._secrets: Secrets | None = secrets
        self.revealed = Revealed()
        self._cache = cache

    @property
    def tenant(self) -> TenantInfo:
        """What the task may know of its tenant: a copy, made when it is asked for."""
        if not isinstance(self._tenant, TenantInfo):
            self._tenant = self._tenant()
        return self._tenant

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt of this task of this run.

        Give it to other systems. It stays when the tenant is renamed.
        """
        return f"{self.tenant.origin or self.tenant.id}:{self.run_id}:{self.task}"

    @property
    def db(self) -> Database:
        """SQL on the tenant's own tables.

        From a sync task: `anyio.from_thread.run(ctx.db.fetch, …)`.
        """
        if self._database is None:
            raise NoDatabase(
                "this context has no database: its attempt is over, or it was made without one",
                hint="pass database= in a unit test",
            )
        return self._database

    @property
    def cache(self) -> Cache:
        """JSON values of the tenant by key, for a while: `await ctx.cache.set("k", 1, ttl="5m")`.

        Not durable, and no part of the run: what is in it may be gone at any time. From a sync
        task: `anyio.from_thread.run(ctx.cache.get, "k")`.
        """
        if self._cache is None:
            raise NoCache(
                "this context has no cache: its attempt is over, or it was made without one",
                hint="pass cache= in a unit test, or run the workflow in the kit's Harness",
            )
        return self._cache.hiding(self.revealed)

    async def secret(self, name: str) -> Secret:
        """Return a secret of the tenant, as it is now; SecretNotFound when there is none.

        Its value is never stored: an output or a step's result that holds it fails the attempt, and
        errors and log lines of the attempt show its name instead. From a sync task:
        `anyio.from_thread.run(ctx.secret, "api_key")`, or `anyio.run(ctx.secret, "api_key")` in a
        worker process.
        """
        if self._secrets is None:
            raise AttemptOver("the attempt is over; its secrets are out of reach")
        value = await self._secrets.read(name)
        self.revealed.add(name, value)
        return Secret(name, value)

    def close(self) -> None:
        """Take the database, the secrets and the cache away.

        Called when the attempt is over, so that a left thread can not write.
        """
        self._database = self._secrets = self._cache = None
        self._durable.close()

    # -- durable calls: a task that waits, or is run again, gets the same answers --------

    async def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Return `function(*args)`, called once; a crash or retry gets the stored result.

        The result must have a JSON form. Steps are told apart by their order and name, so a
        workflow that changes them under a running run needs a new version. A sync function runs in
        a thread.
        """
        return await self._durable.step(name, function, args)

    async def sleep(self, span: str | float | timedelta) -> None:
        """Return when `span` ("90s", seconds or a timedelta) has passed, even over restarts.

        A long sleep takes no slot and no memory: the task is run again when it is over.
        """
        await self._durable.sleep(_span(span))

    async def wait_signal(
        self,
        name: str,
        *,
        timeout: str | float | timedelta | None = None,  # noqa: ASYNC109 - durable
    ) -> Any:
        """Return the payload of the next signal `name` to this run; each is taken once.

        Raises TimeoutError when none came within `timeout`.
        """
        return await self._durable.wait_signal(name, None if timeout is None else _span(timeout))

    async def start_child(
        self,
        workflow: str,
        input: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        priority: int = 0,
        on_close: OnClose = "cancel",
    ) -> Child:
        """Start a run of this tenant's, once, and return it for `wait`.

        When this run ends before the child, the child is cancelled, or goes on if abandoned.
        """
        if on_close not in get_args(OnClose):
            raise ValueError(f"on_close is one of {', '.join(get_args(OnClose))}; got {on_close!r}")
        given: object = input  # users' code is often not type-checked
        if not isinstance(given, Mapping | None):
            raise TypeError(f"the input of a child is a mapping; got {input!r}")
        request = ChildRequest(
            workflow=workflow,
            input=dict(input or {}),
            queue=queue,
            priority=priority,
            on_close=on_close,
        )
        return await self._durable.start_child(request)

    async def wait(self, child: Child) -> Any:
        """Return the output of a child once it has ended; ChildFailed when it did not succeed."""
        given: object = child  # users' code is often not type-checked
        if not isinstance(given, Child):
            raise TypeError(f"ctx.wait takes what ctx.start_child returned; got {child!r}")
        return await self._durable.wait(child)

    async def map(
        self,
        function: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        name: str | None = None,
        concurrency: int = 10,
    ) -> list[Any]:
        """Return `function(item)` for each item, at most `concurrency` at a time, each called once.

        `function` takes the item alone and makes no durable calls itself. Raises QuotaExceeded for
        more items than the tenant's `max_items_per_run`, or leaves the last ones out.
        """
        given: object = concurrency  # users' code is often not type-checked
        if not isinstance(given, int) or given < 1:
            raise ValueError(f"the concurrency of a map is at least 1; got {concurrency!r}")
        label = name if name is not None else str(getattr(function, "__name__", "map"))
        return await self._durable.map(label, function, self._allowed(list(items)), concurrency)

    def _allowed(self, items: list[Any]) -> list[Any]:
        """Return the items that the tenant's limit leaves; the context says how many there were.

        Those of earlier calls count, here and in the tasks before: they are in the context too.
        """
        limit: int | None = self.tenant.limits.get("max_items_per_run")
        if limit is None:
            return items
        before: int = self.get("processed_count", 0)
        kept = items[: max(0, limit - before)]
        if len(kept) < len(items):
            if self.tenant.limits.get("items_over") != "truncate":
                raise QuotaExceeded(self.tenant.id, limit="max_items_per_run", allowed=limit)
            self.set("data_limited", True)
        self.set("original_count", self.get("original_count", 0) + len(items))
        self.set("processed_count", before + len(kept))
        return kept

    def get(self, key: str, default: Any = None) -> Any:
        """Return the context's value under `key`: set here, by an ancestor, or given as input."""
        return self._values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Put a JSON value into the context.

        It is durable, and seen by later tasks, when this one succeeds.
        """
        given: object = key  # users' code is often not type-checked
        if not isinstance(given, str):
            raise TypeError(f"a key of the context is a text; got {key!r}")
        self.changes[key] = value
        self._values[key] = value

    def output(self, task: Task[..., Any, T]) -> T:
        """Return what `task`, an ancestor of this one, returned.

        None when it was skipped or failed.
        """
        given: object = task  # users' code is often not type-checked
        if not isinstance(given, Task):
            raise TypeError(f"ctx.output takes a task, as it was declared; got {task!r}")
        name = task.name
        if name not in self._outputs:
            raise KeyError(
                f"task {self.task!r} does not come after {name!r}, so it can not see its output"
            )
        value: T = self._outputs[name]
        return value


def _span(span: str | float | timedelta) -> timedelta:
    if isinstance(span, timedelta):
        return span
    if isinstance(span, str):
        return Duration.parse(span)
    try:
        return timedelta(seconds=span)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"{span!r} is no span of time: give seconds, a text, a timedelta"
        ) from None
