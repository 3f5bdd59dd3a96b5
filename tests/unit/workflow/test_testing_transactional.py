"""A transactional task in a user's test: one transaction of the database that the test gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from orchestrator.workflow.context import Context, Database
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.testing import Harness, run_workflow


class Bank:
    """A database that tells what was asked of it, and may refuse the commit."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.told: list[str] = []
        self._refuses = refuses

    @property
    def given(self) -> Database:
        """What a test gives: it has the methods that the tasks here call."""
        return cast("Database", self)

    async def execute(self, query: str) -> str:
        self.told.append(query)
        return "OK"

    @asynccontextmanager
    async def transaction(self, *, isolation: str = "") -> AsyncIterator[Any]:
        self.told.append(f"begin {isolation}".strip())
        try:
            yield self
        except BaseException:
            self.told.append("undo")
            raise
        self.told.append("commit")
        if self._refuses is not None:
            raise self._refuses


def of_one(function: Callable[[Context], Awaitable[Any]], **options: Any) -> Workflow:
    """Return a workflow of one transactional task."""
    flow = Workflow("one")
    flow.task(name="only", transactional=True, **options)(function)
    return flow


async def test_its_statements_are_one_transaction_that_begins_with_the_first(bank: Bank) -> None:
    async def pay(ctx: Context) -> None:
        assert bank.told == []
        await asyncio.gather(ctx.db.execute("a"), ctx.db.execute("b"))
        async with ctx.db.transaction() as within:
            await within.execute("c")

    done = await run_workflow(of_one(pay), database=bank.given)

    assert done.state == "succeeded"
    assert bank.told == ["begin", "a", "b", "c", "commit"]


async def test_an_attempt_that_fails_is_undone_and_the_next_begins_anew(bank: Bank) -> None:
    async def pay(ctx: Context) -> None:
        await ctx.db.execute(f"try {ctx.attempt}")
        if ctx.attempt == 1:
            raise ConnectionError("again")

    flow = of_one(pay, retry=Retry(attempts=2, initial="1s"))
    done = await run_workflow(flow, database=bank.given)

    assert done.state == "succeeded"
    assert bank.told == ["begin", "try 1", "undo", "begin", "try 2", "commit"]


async def test_an_attempt_that_is_cut_off_is_undone(bank: Bank) -> None:
    begun = asyncio.Event()

    async def pay(ctx: Context) -> None:
        await ctx.db.execute("a")
        begun.set()
        await asyncio.Event().wait()

    async with Harness(of_one(pay), database=bank.given) as run:
        await begun.wait()
        await run.cancel()

    assert bank.told == ["begin", "a", "undo"]


async def test_a_commit_that_is_refused_fails_the_attempt() -> None:
    async def pay(ctx: Context) -> None:
        await ctx.db.execute("a")

    bank = Bank(refuses=ValueError("a constraint"))
    done = await run_workflow(of_one(pay), database=bank.given)

    assert done.error is not None
    assert done.error.message == "a constraint"


async def test_a_task_that_asks_nothing_needs_no_database() -> None:
    async def pay(ctx: Context) -> int:
        return 1

    assert (await run_workflow(of_one(pay))).output == 1


async def _isolated(ctx: Context) -> None:
    async with ctx.db.transaction(isolation="serializable"):
        pass


@pytest.mark.parametrize(
    ("act", "error"),
    [(lambda ctx: ctx.sleep("1s"), "CallInTransaction"), (_isolated, "ValueError")],
    ids=["a durable call", "an isolation"],
)
async def test_what_would_not_be_one_commit_fails_here_too(
    bank: Bank, act: Callable[[Context], Awaitable[None]], error: str
) -> None:
    async def pay(ctx: Context) -> None:
        await ctx.db.execute("a")
        await act(ctx)

    done = await run_workflow(of_one(pay), database=bank.given)

    assert done.error is not None
    assert done.error.type == error
    assert bank.told == ["begin", "a", "undo"]


@pytest.fixture
def bank() -> Bank:
    """Return an empty one."""
    return Bank()
