"""Workflows that daemons under test serve; each attempt leaves a row in the table `tally`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from orchestrator import Context, Workflow, job
from orchestrator.model.errors import CacheUnavailable

INSERT = "INSERT INTO tally (run, task, attempt) VALUES ($1, $2, $3)"

count = Workflow("count")

_gone: dict[str, asyncio.Event] = {}
"""Set when a file that `stay` waits for is there."""


async def tally(ctx: Context) -> None:
    """Note that this attempt ended well."""
    await ctx.db.execute(INSERT, ctx.run_id, ctx.task, ctx.attempt)


@count.task()
async def first(ctx: Context, seconds: float = 0.0) -> None:
    """Take a moment."""
    await asyncio.sleep(seconds)
    await tally(ctx)


@count.task(after=[first])
async def second(ctx: Context, seconds: float = 0.0) -> None:
    """Take another."""
    await asyncio.sleep(seconds)
    await tally(ctx)


@job("hold")
async def hold(ctx: Context, arrived: str, leave: str) -> None:
    """Make the file `arrived` and wait for the file `leave`."""
    await asyncio.to_thread(Path(arrived).touch)
    while not await asyncio.to_thread(Path(leave).exists):  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.02)
    await tally(ctx)


@job("keep")
async def keep(ctx: Context) -> str:
    """Count in the cache, or tell why not."""
    try:
        return str(await ctx.cache.increment("runs"))
    except CacheUnavailable as error:
        return error.code


@job("stay")
async def stay(ctx: Context, leave: str) -> None:
    """Wait for the file `leave`; one of a thousand looks, and lets all of them go."""
    gone = _gone.get(leave)
    if gone is None:
        gone = _gone[leave] = asyncio.Event()
        while not await asyncio.to_thread(Path(leave).exists):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
        gone.set()
    await gone.wait()


@job("block")
def block(ctx: Context, arrived: str, seconds: float) -> None:
    """Keep a thread busy that nobody can stop."""
    Path(arrived).touch()
    time.sleep(seconds)


@job("spawn")
async def spawn(ctx: Context) -> str:
    """Return the NOTIFY_SOCKET that a child process sees."""
    program = "import os; print(os.environ.get('NOTIFY_SOCKET', 'none'))"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@job("whoami")
async def whoami(ctx: Context) -> int:
    """Return the daemon's process id."""
    return os.getpid()


@job("apart", executor="process")
def apart(ctx: Context) -> str:
    """Return the NOTIFY_SOCKET that a worker process sees."""
    return os.environ.get("NOTIFY_SOCKET", "none")
