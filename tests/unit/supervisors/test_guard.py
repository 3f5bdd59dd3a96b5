"""Every way in which a supervisor can die, and that nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import anyio.lowlevel
import pytest

from orchestrator.model.errors import DatabaseUnavailable, LeaseLost
from supervisors.decide import Ended, Failure
from supervisors.guard import guard
from tests.support.wait import until


class Unprintable(Exception):
    """An error whose text can not be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Odd(BaseException):
    """Not an Exception, and none of those that end the process."""


async def raises_an_exception() -> None:
    raise RuntimeError("bug")


async def raises_a_group() -> None:
    raise ExceptionGroup("several", [ValueError("first"), KeyError("second")])


async def raises_nested_groups() -> None:
    raise BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [Odd("deep")])])


async def raises_a_base_exception() -> None:
    raise Odd("odd")


async def raises_what_has_no_text() -> None:
    raise Unprintable


async def awaits_a_cancelled_future() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def awaits_a_cancelled_task() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(task.cancel)
    await task


async def is_cancelled_as_a_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await anyio.lowlevel.checkpoint()


async def raises_cancelled_by_hand() -> None:
    raise asyncio.CancelledError


async def dies_in_a_group_of_its_own() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(raises_an_exception)
        await anyio.sleep_forever()


async def is_cancelled_within_a_scope_of_its_own() -> None:
    with anyio.move_on_after(60):
        await is_cancelled_as_a_task()


DEATHS = [
    raises_an_exception,
    raises_a_group,
    raises_nested_groups,
    raises_a_base_exception,
    raises_what_has_no_text,
    awaits_a_cancelled_future,
    awaits_a_cancelled_task,
    is_cancelled_as_a_task,
    raises_cancelled_by_hand,
    dies_in_a_group_of_its_own,
    is_cancelled_within_a_scope_of_its_own,
]


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
async def test_a_death_is_a_crash_and_the_siblings_live_on(
    death: Callable[[], Awaitable[None]],
) -> None:
    ended: list[Ended] = []
    beats = dict.fromkeys(range(20), 0)

    async def sibling(number: int) -> None:
        while True:
            beats[number] += 1
            await anyio.lowlevel.checkpoint()

    async def dying() -> None:
        ended.append(await guard(death))

    async with anyio.create_task_group() as group:
        for number in beats:
            group.start_soon(sibling, number)
        group.start_soon(dying)
        await until(lambda: ended)
        before = dict(beats)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert all(beats[number] > before[number] for number in beats)
        group.cancel_scope.cancel()
    assert ended[0].failure is Failure.CRASH
    assert ended[0].error


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
async def test_what_comes_after_a_death_is_not_disturbed(
    death: Callable[[], Awaitable[None]],
) -> None:
    await guard(death)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 60)
        group.cancel_scope.cancel()


async def test_a_normal_return_is_no_failure() -> None:
    assert await guard(anyio.lowlevel.checkpoint) == Ended()


async def test_our_own_cancellation_passes() -> None:
    reached = anyio.Event()
    after: list[Ended] = []

    async def waits() -> None:
        reached.set()
        await anyio.sleep_forever()

    async def guarded() -> None:
        after.append(await guard(waits))

    async with anyio.create_task_group() as group:
        group.start_soon(guarded)
        await reached.wait()
        group.cancel_scope.cancel()
    assert after == []


async def test_a_crash_while_we_cancel_obeys_the_cancellation() -> None:
    reached = anyio.Event()
    after: list[Ended] = []

    async def stumbles() -> None:
        try:
            reached.set()
            await anyio.sleep_forever()
        finally:
            raise RuntimeError("while cleaning up")

    async def guarded() -> None:
        after.append(await guard(stumbles))
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(guarded)
        await reached.wait()
        group.cancel_scope.cancel()
    assert [each.failure for each in after] == [Failure.CRASH]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_the_end_of_the_process_passes(kind: type[BaseException]) -> None:
    async def ends() -> None:
        raise kind

    with pytest.raises(kind):
        await guard(ends)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (LeaseLost("acme", "another owner"), Failure.LEASE),
        (DatabaseUnavailable("gone"), Failure.INFRASTRUCTURE),
    ],
)
async def test_the_sentence_is_that_of_the_first_error_inside(
    error: Exception, failure: Failure
) -> None:
    async def fails() -> None:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [error])])

    ended = await guard(fails)
    assert (ended.failure, ended.error) == (failure, str(error))
