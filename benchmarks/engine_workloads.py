"""The workflows by which `benchmarks.engine` times and weighs; they run in its own process."""

from __future__ import annotations

import time

import anyio

from orchestrator import Context, Workflow, job

starts: list[float] = []
"""When each run of `noted` started."""

handovers: list[float] = []
"""How long after the end of its first task each run of `relay` started the second, in seconds."""

gate: list[anyio.Event] = []
"""What runs of `gated` wait for, set by who measures."""


@job("noted")
async def noted(ctx: Context) -> None:  # noqa: ARG001 - every task has it
    """Note when it started."""
    starts.append(time.perf_counter())


relay = Workflow("relay")


@relay.task()
async def give(ctx: Context) -> float:  # noqa: ARG001 - every task has it
    """Return when it ended."""
    return time.perf_counter()


@relay.task(after=[give])
async def take(ctx: Context) -> None:
    """Note how long that is ago."""
    handovers.append(time.perf_counter() - ctx.output(give))


@job("gated")
async def gated(ctx: Context) -> None:  # noqa: ARG001 - every task has it
    """Stay in memory until the gate opens."""
    await gate[0].wait()


@job("patient")
async def patient(ctx: Context) -> None:
    """Wait for a signal that never comes, outside memory."""
    await ctx.wait_signal("go")
