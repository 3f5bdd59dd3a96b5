"""What a running task sees and may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar
from uuid import UUID

import msgspec
import structlog

from orchestrator.model.errors import InsulaError
from orchestrator.workflow.task import Task

T = TypeVar("T")


class TenantInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant a task runs for, as declared.

    `settings`, `features` and `limits` have its tier merged in.
    """

    id: str = "test"
    name: str = "test"
    settings: dict[str, Any] = {}
    features: dict[str, bool] = {}
    limits: dict[str, Any] = {}
    metadata: dict[str, Any] = {}


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """Which attempt at which task of which run."""

    run_id: UUID = UUID(int=0)
    task: str = "task"
    attempt: int = 1


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

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...


class NoDatabase(InsulaError):
    """The context was made without a database, as in a plain unit test."""

    code = "no_database"


class Context:
    """What a task gets as its first argument.

    Built by the engine; in a unit test build it yourself: `Context(input={"file": "a.csv"})`.
    `input` is what the run was started with. `get` and `set` work on the run's context: a task sees
    the input and what its ancestors set, siblings do not see each other.
    """

    def __init__(
        self,
        *,
        input: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        tenant: TenantInfo | None = None,
        database: Database | None = None,
        current: Current | None = None,
    ) -> None:
        self.input: dict[str, Any] = dict(input or {})
        self.tenant = tenant or TenantInfo()
        current = current or Current()
        self.run_id = current.run_id
        self.task = current.task
        self.attempt = current.attempt
        self.log: structlog.typing.FilteringBoundLogger = structlog.get_logger("task")
        self.changes: dict[str, Any] = {}
        self._values = {**self.input, **(values or {})}
        self._outputs = outputs or {}
        self._database = database

    @property
    def idempotency_key(self) -> str:
        """A key that is the same for every attempt of this task of this run.

        Give it to other systems.
        """
        return f"{self.tenant.id}:{self.run_id}:{self.task}"

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

    def close(self) -> None:
        """Take the database away.

        Called when the attempt is over, so that a left thread can not write.
        """
        self._database = None

    def get(self, key: str, default: Any = None) -> Any:
        """Return the context's value under `key`: set here, by an ancestor, or given as input."""
        return self._values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Put a JSON value into the context.

        It is durable, and seen by later tasks, when this one succeeds.
        """
        self.changes[key] = value
        self._values[key] = value

    def output(self, task: Task[..., Any, T]) -> T:
        """Return what `task`, an ancestor of this one, returned.

        None when it was skipped or failed.
        """
        name = task.name
        if name not in self._outputs:
            raise KeyError(
                f"task {self.task!r} does not come after {name!r}, so it can not see its output"
            )
        value: T = self._outputs[name]
        return value
