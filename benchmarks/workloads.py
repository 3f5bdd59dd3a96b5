"""The workflows that are measured: they do nothing, so every figure is the engine's own cost."""

from __future__ import annotations

import time

import anyio

from orchestrator import Context, Workflow, job


@job("one_step")
async def one_step(ctx: Context) -> int:  # noqa: ARG001 - every task has it
    """Return at once."""
    return 1


@job("hold")
async def hold(ctx: Context) -> None:  # noqa: ARG001 - every task has it
    """Run until somebody ends it."""
    await anyio.sleep_forever()


@job("moment")
async def moment(ctx: Context) -> float:  # noqa: ARG001 - every task has it
    """Return when it began, by a clock that all processes of the machine share."""
    return time.monotonic()


chain = Workflow("chain_of_five")


@chain.task()
async def first(ctx: Context) -> int:  # noqa: ARG001 - every task has it
    """Return at once."""
    return 1


@chain.task(after=[first])
async def second(ctx: Context) -> int:  # noqa: ARG001 - every task has it
    """Return at once."""
    return 2


@chain.task(after=[second])
async def third(ctx: Context) -> int:  # noqa: ARG001 - every task has it
    """Return at once."""
    return 3


@chain.task(after=[third])
async def fourth(ctx: Context) -> int:  # noqa: ARG001 - every task has it
    """Return at once."""
    return 4


@chain.task(after=[fourth])
async def fifth(ctx: Context) -> int:  # noqa: ARG001 - every task has it
    """Return at once."""
    return 5


async def _nothing() -> int:
    return 1


@job("five_steps")
async def five_steps(ctx: Context) -> int:
    """Make five durable steps, one after the other, in one task."""
    return sum([await ctx.step(f"step_{number}", _nothing) for number in range(5)])


@job("echo")
async def echo(ctx: Context) -> str:
    """Return what came in."""
    text: str = ctx.input["text"]
    return text


async def _item(number: int) -> int:
    return number


@job("fan_out")
async def fan_out(ctx: Context) -> int:
    """Map a step over as many items as the input says."""
    return len(await ctx.map(_item, range(ctx.input["items"]), concurrency=1000))


@job("resumed")
async def resumed(ctx: Context) -> float:
    """Hold on until the process is killed; return when the next one has started this again."""
    if ctx.attempt == 1:
        await anyio.sleep_forever()
    return time.monotonic()
