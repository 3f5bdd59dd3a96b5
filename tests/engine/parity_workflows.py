"""Workflows that run in the kit and on PostgreSQL, to be compared."""

from __future__ import annotations

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.durable import ChildFailed
from orchestrator.workflow.retry import Fail, Retry
from orchestrator.workflow.rules import When

diamond = Workflow("diamond")


@diamond.task()
async def top(ctx: Context, n: int) -> int:
    """Set what both sides see."""
    ctx.set("top", n)
    return n


@diamond.task(after=[top])
async def left(ctx: Context) -> int:
    """Add."""
    ctx.set("side", "left")
    return ctx.output(top) + 1


@diamond.task(after=[top])
def right(ctx: Context) -> int:
    """Add in a thread."""
    ctx.set("side", "right")
    return ctx.output(top) + 2


@diamond.task(after=[left, right])
async def bottom(ctx: Context) -> list[int]:
    """Bring together."""
    return [ctx.output(left), ctx.output(right), ctx.get("top")]


rules = Workflow("rules")


@rules.task()
async def fails(ctx: Context) -> None:
    """Fail for good."""
    raise Fail("as it should")


@rules.task(after=[fails])
async def skipped(ctx: Context) -> None:
    """Never run."""


@rules.task(after=[fails], when=When.ANY_FAILED)
async def cleans_up(ctx: Context) -> str:
    """Run because the first failed."""
    return "clean"


@rules.task(after=[skipped, cleans_up], when=When.ALL_DONE)
async def last(ctx: Context) -> str:
    """Run anyway."""
    return "done"


@job("tries", retry=Retry(attempts=3, initial="20ms", jitter=0))
async def tries(ctx: Context, fail_times: int) -> int:
    """Fail so often."""
    await ctx.step("once", str, ctx.attempt)
    if ctx.attempt <= fail_times:
        raise ConnectionError(f"attempt {ctx.attempt}")
    return ctx.attempt


@job("durable")
async def durable(ctx: Context) -> list[int]:
    """Step, sleep a little, sleep long, map."""
    first = await ctx.step("first", int, "1")
    await ctx.sleep(0.05)
    await ctx.sleep(1.05)
    return [first, *await ctx.map(abs, [-1, -2, -3], concurrency=1)]


@job("signals")
async def signals(ctx: Context) -> list[object]:
    """Take a signal, give up on another."""
    taken = await ctx.wait_signal("go")
    try:
        return [taken, await ctx.wait_signal("never", timeout="1200ms")]
    except TimeoutError:
        return [taken, None]


@job("family")
async def family(ctx: Context) -> list[object]:
    """Wait for a child that succeeds and for one that does not; leave a third to be cancelled."""
    good = await ctx.start_child("tries", {"fail_times": 0})
    bad = await ctx.start_child("rules")
    await ctx.start_child("signals")
    output = await ctx.wait(good)
    try:
        await ctx.wait(bad)
    except ChildFailed as error:
        return [output, error.state]
    return [output, "succeeded"]


@job("diverges", retry=Retry(attempts=2, initial="20ms", jitter=0))
async def diverges(ctx: Context) -> None:
    """Make other calls the second time."""
    await ctx.step("one" if ctx.attempt == 1 else "other", int, 1)
    raise ConnectionError("again")


ALL: list[Workflow] = [diamond, rules, tries, durable, signals, family, diverges]
