"""Tasks that worker processes import: well behaved ones, and ones that end badly."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import msgspec

from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Fail, Retry

tasks = Workflow("process_tasks")
MIB = 1024**2
NO_INPUT = msgspec.Raw(b"{}")


class Unlucky(ArithmeticError):
    """An error of the application's own."""


class Unspeakable(Exception):
    """Its message can not be made."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@tasks.task(executor="process")
def load(ctx: Context) -> list[int]:
    return [1, 2]


@tasks.task(executor="process", after=[load])
def add(ctx: Context, number: int, weight: float = 0.5) -> dict[str, Any]:
    assert isinstance(number, int)
    ctx.set("seen", ctx.get("before"))
    ctx.log.info("added")
    return {
        "sum": sum(ctx.output(load)) + number * weight,
        "who": [ctx.tenant.id, ctx.tenant.settings, str(ctx.run_id), ctx.task, ctx.attempt],
        "key": ctx.idempotency_key,
    }


@tasks.task(executor="process")
def pid(ctx: Context) -> int:
    return os.getpid()


@tasks.task(executor="process", retry=Retry(attempts=2, on=(ArithmeticError,)))
def refuse(ctx: Context, error: str) -> None:
    known = {"Unlucky": Unlucky, "KeyError": KeyError, "Fail": Fail, "Unspeakable": Unspeakable}
    raise known[error]("no luck, \0 at all")


@tasks.task(executor="process", timeout="300ms")
def hang(ctx: Context, note: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    Path(note).write_text(f"{os.getpid()} {child.pid}\n")
    time.sleep(60)


@tasks.task(executor="process")
def hang_for_good(ctx: Context, note: str) -> None:
    hang(ctx, note)


@tasks.task(executor="process")
def spin_in_c(ctx: Context, note: str) -> None:
    child = subprocess.Popen(["sleep", "60"])
    Path(note).write_text(f"{os.getpid()} {child.pid}\n")
    # One call into C that never lets another thread of the interpreter run.
    sum(range(10**12))


@tasks.task(executor="process")
def die(ctx: Context, how: str) -> None:
    match how:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), 9)
        case "sys.exit":
            sys.exit("enough")
        case "interrupt":
            raise KeyboardInterrupt
        case "close":
            os.closerange(3, 64)


@tasks.task(executor="process")
def fill_memory(ctx: Context, mib: int) -> int:
    return len(bytearray(mib * MIB))


@tasks.task(executor="process")
def limits(ctx: Context) -> dict[str, int]:
    return {
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
        "memory": resource.getrlimit(resource.RLIMIT_AS)[1],
    }


@tasks.task(executor="process")
def surroundings(ctx: Context) -> dict[str, Any]:
    pipes = [
        int(each.name)
        for each in Path("/proc/self/fd").iterdir()
        if each.exists() and not stat.S_ISDIR(each.stat().st_mode)
    ]
    seen = subprocess.run(
        [sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {
        "environment": sorted(os.environ),
        "above": [each for each in pipes if each > 2],
        "of_children": seen.stdout,
        "group": os.getpgrp() == os.getpid(),
        "input": sys.stdin.read(),
    }


@tasks.task(executor="process")
def chatter(ctx: Context) -> str:
    print("printed")  # noqa: T201 - this is what is tested
    sys.stdout.write("without an end")
    os.write(1, b'\x00\x00\x00\x12{"type":"started"}\n')
    print("complained", file=sys.stderr)  # noqa: T201 - as above
    return "quiet"


@tasks.task(executor="process")
def fork(ctx: Context) -> str:
    child = os.fork()
    if child == 0:
        return "the copy"
    os.waitpid(child, 0)
    return "the original"


@tasks.task(executor="process")
def large(ctx: Context, size: int) -> str:
    return "x" * size


@tasks.task(executor="process")
def unserialisable(ctx: Context, how: str) -> Any:
    if how == "cycle":
        loop: list[Any] = []
        loop.append(loop)
        return loop
    if how == "set":
        ctx.set("handle", object())
    return object() if how == "output" else None


@tasks.task(executor="process")
def query(ctx: Context) -> None:
    _ = ctx.db


@tasks.task(executor="process")
def rest(ctx: Context) -> None:
    asyncio.run(ctx.sleep("1s"))


@job("nightly", executor="process")
def nightly(ctx: Context) -> str:
    return "done"


@tasks.task(executor="process")
def use_secret(ctx: Context, how: str) -> Any:
    secret = anyio.run(ctx.secret, "api_key")
    ctx.log.info("read", secret=secret, value=secret.reveal())
    if how == "raise":
        raise ValueError(f"{secret} {secret.reveal()}")
    return secret.reveal() if how == "return" else len(secret.reveal())


@tasks.task(executor="process")
def use_cache(ctx: Context) -> Any:
    return anyio.run(ctx.cache.get, "key")
