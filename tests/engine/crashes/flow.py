"""What runs in a process that is killed, and again in whoever takes over."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.retry import Retry


def _go_on(point: str) -> None:
    """Do nothing: nobody is killed here."""


REACHED: ContextVar[Callable[[str], None]] = ContextVar("reached", default=_go_on)
"""Told by tasks where they are."""


async def work(ctx: Context) -> None:
    """Leave an effect; the first attempt fails after it."""
    reached = REACHED.get()
    reached("in the task")
    await ctx.db.execute("INSERT INTO effect VALUES ('work', $1)", ctx.attempt)
    reached("after the effect")
    if ctx.attempt == 1:
        raise ConnectionError("again")


async def finish(ctx: Context) -> None:
    """Leave another."""
    await ctx.db.execute("INSERT INTO effect VALUES ('finish', $1)", ctx.attempt)


def made(name: str, *, transactional: bool) -> Workflow:
    """Return a workflow that works and finishes."""
    flow = Workflow(name)
    retry = Retry(attempts=3, initial="100ms", jitter=0.0)
    first = flow.task(retry=retry, transactional=transactional)(work)
    flow.task(after=[first])(finish)
    return flow


WORKFLOWS = {
    "plain": made("plain", transactional=False),
    "exact": made("exact", transactional=True),
}
