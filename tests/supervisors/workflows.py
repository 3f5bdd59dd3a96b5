"""Workflows that tests of supervisors start."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import anyio

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Retry


class Gates:
    """Lets a test hold tasks: they say that they came, and wait to be let on."""

    def __init__(self) -> None:
        self._open: dict[str, anyio.Event] = defaultdict(anyio.Event)
        self.arrived: dict[str, int] = defaultdict(int)

    async def pass_through(self, name: str) -> None:
        """Wait until the gate is open."""
        self.arrived[name] += 1
        await self._open[name].wait()

    def open(self, name: str) -> None:
        """Let everyone on, also those who come later."""
        self._open[name].set()


GATES = Gates()
"""Each test uses names of its own."""

EXECUTED: dict[str, list[str]] = defaultdict(list)
"""By tenant, the idempotency keys of the attempts that ended well."""


@job("note")
async def note(ctx: Context) -> None:
    """End at once."""
    EXECUTED[ctx.tenant.id].append(ctx.idempotency_key)


@job("wait")
async def wait(ctx: Context, gate: str) -> None:
    """Wait at a gate of the test's."""
    await GATES.pass_through(gate)
    EXECUTED[ctx.tenant.id].append(ctx.idempotency_key)


@job("later", retry=Retry(attempts=2, initial="1500ms", jitter=0))
async def later(ctx: Context) -> int:
    """Fail the first time, so that the second is due later."""
    if ctx.attempt == 1:
        raise RuntimeError("not yet")
    return ctx.attempt


@job("cancels")
async def cancels(ctx: Context) -> None:
    """Await something that somebody else cancels."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


@job("asks")
async def asks(ctx: Context, gate: str) -> None:
    """Wait at a gate of the test's, and ask the database then."""
    await GATES.pass_through(gate)
    await ctx.db.fetchval("SELECT 1")


@job("who", transactional=True)
async def who(ctx: Context) -> str:
    """Return as whom the database knows the task, and where it looks for tables."""
    found: str = await ctx.db.fetchval(
        "SELECT concat_ws(' ', session_user, current_user, current_schemas(false))"
    )
    return found


@job("widths", transactional=True, retry=Retry(attempts=2, initial="1ms", jitter=0))
async def widths(ctx: Context) -> list[int]:
    """Return how many columns the flights have, and which attempt it was that could tell."""
    row = await ctx.db.fetchrow("SELECT * FROM flight")
    return [0 if row is None else len([*row.keys()]), ctx.attempt]


@job("private", tenant="acme")
async def private(ctx: Context) -> None:
    """Run for acme alone."""
    EXECUTED[ctx.tenant.id].append(ctx.idempotency_key)


ALL: list[Workflow] = [note, wait, later, cancels, asks, who, widths, private]
