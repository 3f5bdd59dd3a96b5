"""What a task reads with `ctx.secret` is in no journal, no context, no error and no log line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.from_thread
import msgspec
import pytest
import structlog

from orchestrator.engine.outcome import Failed, Succeeded
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.processes.wire import ProcessCall
from orchestrator.model.ids import TenantId
from orchestrator.observability.logging import set_up
from orchestrator.store.tenant.secrets import Vault
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import job
from orchestrator.workflow.durable import AttemptOver
from orchestrator.workflow.secret import GivenSecrets, Secret
from tests.engine import process_tasks as tasks
from tests.engine.live import House, serving
from tests.support.dump import dump

PLAIN = 'k-7f3a "quoted" \u20ac\nsecond line'


@pytest.fixture
async def house(house: House) -> House:
    """Return the tenant with a secret."""
    await put(house, PLAIN)
    return house


async def put(house: House, value: str) -> None:
    vault = Vault(TenantId("acme"), await house.database.keys())
    await vault.put(house.admin, "api_key", value)


def hidden(text: str) -> bool:
    """Return whether nothing of the secret stands in a text, in no spelling."""
    return not any(part in text for part in ("k-7f3a", "quoted", "second line"))


async def test_a_task_reads_the_secret_as_it_is_now(house: House) -> None:
    @job("w")
    async def reads(ctx: Context) -> list[bool]:
        before = (await ctx.secret("api_key")).reveal()
        await put(house, "changed")
        return [before == PLAIN, (await ctx.secret("api_key")).reveal() == "changed"]

    async with serving(house, reads) as live:
        run = await live.run("w")

    assert await house.output(run) == [True, True]
    assert hidden(await dump(house.admin))


async def test_a_sync_task_reads_it_from_its_thread(house: House) -> None:
    @job("w")
    def reads(ctx: Context) -> bool:
        return anyio.from_thread.run(ctx.secret, "api_key").reveal() == PLAIN

    async with serving(house, reads) as live:
        run = await live.run("w")

    assert await house.output(run) is True


async def test_one_that_is_missing_fails_the_attempt_by_name(house: House) -> None:
    @job("w")
    async def reads(ctx: Context) -> None:
        await ctx.secret("password")

    async with serving(house, reads) as live:
        run = await live.run("w")

    error = await house.error(run)
    assert error["type"] == "SecretNotFound"
    assert error["message"] == "tenant 'acme' has no secret 'password'"


async def test_an_error_shows_its_name_instead(house: House) -> None:
    @job("w")
    async def fails(ctx: Context) -> None:
        secret = (await ctx.secret("api_key")).reveal()
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise ValueError("x" * 1990 + secret) from error

    async with serving(house, fails) as live:
        run = await live.run("w")

    error = await house.error(run)
    assert "[secret" in error["message"]
    assert "KeyError: '[secret api_key]'" in error["traceback"]
    assert hidden(await dump(house.admin))


async def as_coroutine(value: Any) -> Any:
    return value


async def set_it(ctx: Context, text: str) -> None:
    ctx.set("key", text)


LEAKS: dict[str, Callable[[Context, str], Awaitable[Any]]] = {
    "an output": lambda _, text: as_coroutine({"key": text}),
    "a context": set_it,
    "a step": lambda ctx, text: ctx.step("fetch", lambda: [text]),
    "an item": lambda ctx, text: ctx.map(lambda _: text, [1]),
    "a child": lambda ctx, text: ctx.start_child("w", {"key": text}),
}


@pytest.mark.parametrize("leak", LEAKS)
async def test_what_would_store_it_fails_the_attempt(house: House, leak: str) -> None:
    @job("w")
    async def leaks(ctx: Context) -> Any:
        secret = await ctx.secret("api_key")
        return await LEAKS[leak](ctx, f"Bearer {secret.reveal()}")

    async with serving(house, leaks) as live:
        run = await live.run("w")

    error = await house.error(run)
    assert error["type"] == "SecretLeaked"
    assert "holds the secret 'api_key'" in error["message"]
    assert hidden(await dump(house.admin))


async def test_the_log_lines_of_the_attempt_show_its_name(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    @job("w")
    def logs(ctx: Context) -> None:
        secret = anyio.from_thread.run(ctx.secret, "api_key")
        # Here and not around the engine: its own loggers would keep what is set up.
        set_up("info", "json")
        structlog.get_logger().info("reads", secret=secret, header=[f"Bearer {secret.reveal()}"])
        structlog.reset_defaults()

    async with serving(house, logs) as live:
        await live.run("w")

    shown = capsys.readouterr().err
    assert "Secret('api_key')" in shown
    assert "Bearer [secret api_key]" in shown
    assert hidden(shown)


async def test_after_the_attempt_it_is_out_of_reach(house: House) -> None:
    left: list[Context] = []

    @job("w")
    async def leaves(ctx: Context) -> None:
        left.append(ctx)

    async with serving(house, leaves) as live:
        await live.run("w")
        with pytest.raises(AttemptOver):
            await left[0].secret("api_key")


async def test_another_event_loop_is_refused(house: House) -> None:
    @job("w")
    def confused(ctx: Context) -> None:
        asyncio.run(_read(ctx))

    async with serving(house, confused) as live:
        run = await live.run("w")

    assert (await house.error(run))["type"] == "OtherLoop"


async def _read(ctx: Context) -> Secret:
    return await ctx.secret("api_key")


def told(how: str) -> ProcessCall:
    return ProcessCall(input=msgspec.Raw(msgspec.json.encode({"how": how})))


async def test_a_worker_process_asks_the_daemon(capfd: pytest.CaptureFixture[str]) -> None:
    given = GivenSecrets("acme", {"api_key": PLAIN})
    async with ProcessPool(size=1, memory_bytes=None) as pool:
        used = await pool.run(tasks.use_secret, told("use"), given.read)
        returned = await pool.run(tasks.use_secret, told("return"), given.read)
        raised = await pool.run(tasks.use_secret, told("raise"), given.read)
        missing = await pool.run(tasks.use_secret, told("use"), GivenSecrets("acme", {}).read)

    assert isinstance(used, Succeeded)
    assert bytes(used.output) == str(len(PLAIN)).encode()
    assert isinstance(returned, Failed)
    assert returned.error.type == "SecretLeaked"
    assert isinstance(raised, Failed)
    assert raised.error.message == "Secret('api_key') [secret api_key]"
    assert isinstance(missing, Failed)
    assert missing.error.message == "tenant 'acme' has no secret 'api_key'"
    assert hidden(capfd.readouterr().err + str([used, returned, raised]))
