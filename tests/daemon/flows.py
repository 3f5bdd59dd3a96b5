"""Workflows that are interfered with while they run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from orchestrator import Context, Fail, Workflow, job
from tests.support.wait import until


@job("approval")
async def approval(ctx: Context) -> Any:
    """Return what the signal `approved` brings."""
    return await ctx.wait_signal("approved", timeout="50s")


relay = Workflow("relay")


@relay.task()
async def run_first(ctx: Context, arrived: str, leave: str) -> None:
    """Make the file `arrived` and wait for the file `leave`."""
    await asyncio.to_thread(Path(arrived).touch)
    await until(Path(leave).exists, within=60.0)


@relay.task(after=[run_first])
async def run_last(ctx: Context) -> str:
    """Come after it."""
    return "arrived"


delivery = Workflow("delivery")


@delivery.task()
async def pack(ctx: Context) -> str:
    """Succeed at once."""
    return "parcel"


@delivery.task(after=[pack])
async def ship(ctx: Context, harbour: str) -> str:
    """Fail as long as the file `harbour` is not there."""
    if not await asyncio.to_thread(Path(harbour).exists):
        raise Fail("the harbour is closed")
    return f"shipped a {ctx.output(pack)}"
