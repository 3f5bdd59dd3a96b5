"""What tests of durable calls run, and do to an engine: signals, verbs, crashes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import anyio
import msgspec

from orchestrator.engine.control import Verb
from orchestrator.engine.reply import Reply
from orchestrator.model.api import Started
from orchestrator.model.errors import DatabaseRefused, DatabaseUnavailable
from orchestrator.model.ids import new_run_id
from orchestrator.model.states import RunState
from orchestrator.store.tenant.journal import Sent
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from tests.engine.live import House, Live, Options, serving
from tests.support.proxy import CuttingProxy, When

T = TypeVar("T")
LIMIT_SECONDS = 30


@job("patient")
async def patient(ctx: Context) -> Any:
    """Wait for somebody."""
    return await ctx.wait_signal("go")


@job("quick")
async def quick(ctx: Context) -> int:
    """Return at once."""
    return 1


async def signal(
    live: Live, run: UUID, name: str, payload: Any = None, *, key: str | None = None
) -> None:
    """Send a signal and return once it is durable."""
    reply: Reply[None] = Reply()
    text = msgspec.json.encode(payload).decode()
    live.engine.send(Sent(run, new_run_id(), name, key, text), reply)
    await answer(reply)


async def control(live: Live, run: UUID, verb: Verb, reason: str = "") -> RunState:
    """Do something to a run and return its state."""
    reply: Reply[RunState] = Reply()
    live.engine.control(run, verb, reason, reply)
    return await answer(reply)


async def fork(live: Live, run: UUID, task: str | None = None) -> UUID:
    """Repeat a run and return the new one."""
    reply: Reply[list[Started]] = Reply()
    live.engine.fork(run, task, reply)
    (started,) = await answer(reply)
    return started.id


async def pause(live: Live, workflow: str = "", *, paused: bool = True) -> None:
    """Pause or resume a workflow, or the tenant."""
    reply: Reply[None] = Reply()
    live.engine.set_pause(workflow, reply, paused=paused)
    await answer(reply)


async def answer(reply: Reply[T]) -> T:
    """Return the answer, or raise the error, within reason."""
    with anyio.fail_after(LIMIT_SECONDS):
        return await reply.wait()


def resident(live: Live) -> set[UUID]:
    """Return the runs that the engine holds in memory."""
    return set(live.engine._board.runs)  # noqa: SLF001 - nobody else asks


def reading(found: list[Any]) -> Callable[..., Any]:
    """Return a function that notes its arguments and returns how often it was called."""

    def note(*args: Any) -> int:
        found.append(args[0] if len(args) == 1 else args)
        return len(found)

    return note


@asynccontextmanager
async def dying(
    house: House, *flows: Workflow, cut_at: int, when: When
) -> AsyncIterator[tuple[Live, CuttingProxy]]:
    """Run an engine that loses the database for good at statement `cut_at`."""
    proxy = CuttingProxy(house.database.as_engine("acme"), cut_at=cut_at, when=when)
    async with proxy.running():
        options = Options(target=proxy.target, once=True)
        async with serving(house, *flows, options=options) as live:
            yield live, proxy


async def crash_at(
    house: House,
    flows: Sequence[Workflow],
    cut_at: int,
    when: When,
    drive: Callable[[Live], Awaitable[None]],
) -> bool:
    """Drive an engine into a crash at statement `cut_at`; False when it got to the end before."""
    try:
        async with dying(house, *flows, cut_at=cut_at, when=when) as (live, _):
            await drive(live)
    except (DatabaseRefused, DatabaseUnavailable):
        return True
    except BaseExceptionGroup as group:
        _, others = group.split((DatabaseRefused, DatabaseUnavailable))
        if others is not None:
            raise
        return True
    return False
