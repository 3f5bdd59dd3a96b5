"""What the code of a task does to the event loop does not end the daemon."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.daemon import event_loop


async def leave(how: type[BaseException]) -> None:
    """Raise what stops an event loop, in a task of its own."""
    raise how(3)


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt])
@pytest.mark.requirement("R12.daemon")
def test_an_exit_in_an_asyncio_task_ends_that_one_alone(how: type[BaseException]) -> None:
    seen: list[object] = []

    async def main() -> None:
        other = asyncio.create_task(asyncio.sleep(0.001, "went on"))
        seen.extend(await asyncio.gather(leave(how), leave(how), return_exceptions=True))
        seen.append(await other)

    event_loop.run(main())
    assert [type(one) for one in seen] == [how, how, str]


def test_a_loop_that_is_stopped_goes_on() -> None:
    seen: list[int] = []

    async def main() -> None:
        for number in range(3):
            asyncio.get_running_loop().stop()
            await asyncio.sleep(0)
            seen.append(number)

    event_loop.run(main())
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("how", [SystemExit, KeyboardInterrupt, ValueError])
def test_what_the_daemon_itself_raises_ends_it(how: type[BaseException]) -> None:
    with pytest.raises(how):
        event_loop.run(leave(how))


def test_nothing_is_left_running() -> None:
    ended: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def forgotten() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cut off")

    async def main() -> None:
        kept.append(asyncio.create_task(forgotten()))
        await asyncio.sleep(0)

    event_loop.run(main())
    assert ended == ["cut off"]
