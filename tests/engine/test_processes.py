"""The process executor on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import msgspec
import pytest

from orchestrator.engine.entries import NOTHING
from orchestrator.engine.outcome import Failed, Succeeded
from orchestrator.engine.processes import wire
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.processes.wire import ProcessCall
from orchestrator.model.errors import DefinitionError
from orchestrator.workflow.context import Context, Current, TenantInfo
from orchestrator.workflow.define import AnyTask, Workflow
from tests.engine import process_tasks as tasks
from tests.support.wait import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    """Yield a pool of two workers.

    A task of its own holds it: the two halves of a fixture may run in different ones.
    """
    made: asyncio.Future[ProcessPool] = asyncio.get_running_loop().create_future()
    done = anyio.Event()

    async def hold() -> None:
        async with ProcessPool(size=2, memory_bytes=512 * tasks.MIB) as pool:
            made.set_result(pool)
            await done.wait()

    holder = asyncio.create_task(hold())
    yield await made
    done.set()
    await holder


def call(input: Mapping[str, Any] | None = None) -> ProcessCall:
    """Return what a task sees that was given `input` and nothing else."""
    return ProcessCall(input=msgspec.Raw(msgspec.json.encode(input or {})))


async def output(pool: ProcessPool, task: AnyTask, **input: Any) -> Any:
    """Run an attempt that succeeds; return its output."""
    outcome = await pool.run(task, call(input))
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.output)


async def failure(pool: ProcessPool, task: AnyTask, **input: Any) -> Failed:
    """Run an attempt that fails; return how."""
    outcome = await pool.run(task, call(input))
    assert isinstance(outcome, Failed), outcome
    return outcome


def running(pid: int) -> bool:
    """Return whether a process runs; one that nobody has reaped yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def noted(note: Path) -> list[int]:
    """Wait until a task wrote down its processes."""

    def pids() -> list[int]:
        text = note.read_text() if note.exists() else ""
        return [int(each) for each in text.split()] if text.endswith("\n") else []

    return await until(pids)


async def test_output_changes_and_everything_the_context_says_make_the_round_trip(
    pool: ProcessPool,
) -> None:
    outcome = await pool.run(
        tasks.add,
        ProcessCall(
            input=msgspec.Raw(b'{"number": 8}'),
            values={"before": ["a", None]},
            outputs={"load": msgspec.Raw(b"[1,2]")},
            tenant=TenantInfo(id="acme", settings={"hub": "LHR"}),
            current=Current(run_id=UUID(int=7), task="add", attempt=3),
        ),
    )

    assert isinstance(outcome, Succeeded)
    assert msgspec.json.decode(outcome.values) == {"seen": ["a", None]}
    assert msgspec.json.decode(outcome.output) == {
        "sum": 7.0,
        "who": ["acme", {"hub": "LHR"}, str(UUID(int=7)), "add", 3],
        "key": f"acme:{UUID(int=7)}:add",
    }


async def test_a_task_that_sets_nothing_says_so_by_identity(pool: ProcessPool) -> None:
    outcome = await pool.run(tasks.load, call())

    assert isinstance(outcome, Succeeded)
    assert outcome.values is NOTHING


async def test_the_function_of_a_job_is_found(pool: ProcessPool) -> None:
    (task,) = tasks.nightly.tasks.values()

    assert await output(pool, task) == "done"


@pytest.mark.parametrize(
    ("error", "retryable"), [("Unlucky", True), ("KeyError", False), ("Fail", False)]
)
async def test_an_exception_comes_with_message_traceback_and_what_the_policy_says_of_it(
    pool: ProcessPool, error: str, retryable: bool
) -> None:
    failed = await failure(pool, tasks.refuse, error=error)

    assert failed.retryable is retryable
    assert failed.error.type == error
    assert "no luck, " in failed.error.message
    assert "\0" not in failed.error.message
    assert "raise known[error]" in (failed.error.traceback or "")


async def test_an_exception_that_can_not_be_described_is_named(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.refuse, error="Unspeakable")

    assert failed.error.type == "Unspeakable"
    assert "could not be described" in failed.error.message
    assert len(pool.pids) == 1


async def test_input_that_does_not_fit_fails_the_attempt(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.add, number="eight")

    assert failed.error.type == "ValidationError"


async def test_a_task_over_its_time_is_killed_with_all_it_started(
    pool: ProcessPool, tmp_path: Path
) -> None:
    await output(pool, tasks.pid)
    began = time.monotonic()

    failed = await failure(pool, tasks.hang, note=str(tmp_path / "note"))

    assert time.monotonic() - began < 2
    assert failed.error.type == "AttemptTimeout"
    assert failed.error.message == "the attempt took longer than 0.3 s; its process was killed"
    assert failed.retryable
    worker, child = await noted(tmp_path / "note")
    assert not running(worker)
    await until(lambda: not running(child))


async def test_a_cancelled_attempt_is_dead_when_the_cancellation_comes_through(
    pool: ProcessPool, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, tasks.hang_for_good, call({"note": str(tmp_path / "note")}))
        worker, child = await noted(tmp_path / "note")
        group.cancel_scope.cancel()

    assert not running(worker)
    await until(lambda: not running(child))
    assert await output(pool, tasks.load) == [1, 2]


async def test_the_end_of_the_pool_ends_every_worker(tmp_path: Path) -> None:
    ended: list[bool] = []

    async def run(pool: ProcessPool) -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await pool.run(tasks.hang_for_good, call({"note": str(tmp_path / "note")}))
        ended.append(True)

    async with anyio.create_task_group() as group, ProcessPool(size=2, memory_bytes=None) as pool:
        await output(pool, tasks.load)
        group.start_soon(run, pool)
        worker, _ = await noted(tmp_path / "note")

    assert ended
    assert not running(worker)
    assert pool.pids == frozenset()
    with pytest.raises(anyio.ClosedResourceError):
        await pool.run(tasks.load, call())


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("segfault", "was killed by SIGSEGV"),
        ("kill", "was killed by SIGKILL"),
        ("exit", "ended with exit code 3 before the task was done"),
        ("close", "ended with exit code 1"),
    ],
)
async def test_a_worker_that_dies_fails_its_attempt_alone(
    pool: ProcessPool, how: str, message: str, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(pool.run, tasks.hang_for_good, call({"note": str(tmp_path / "note")}))
        other, _ = await noted(tmp_path / "note")

        failed = await failure(pool, tasks.die, how=how)

        assert failed.error.type == "WorkerDied"
        assert message in failed.error.message
        assert failed.retryable
        assert running(other)
        assert await output(pool, tasks.load) == [1, 2]
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("how", "message"),
    [("sys.exit", "SystemExit('enough')"), ("interrupt", "KeyboardInterrupt()")],
)
async def test_a_task_that_ends_the_program_fails_and_its_worker_goes_on(
    pool: ProcessPool, how: str, message: str
) -> None:
    before = await output(pool, tasks.pid)

    failed = await failure(pool, tasks.die, how=how)

    assert failed.error.type == "TaskExited"
    assert failed.error.message == f"the task ended the program: {message}"
    assert await output(pool, tasks.pid) == before


async def test_an_idle_worker_that_died_costs_no_attempt(pool: ProcessPool) -> None:
    before = await output(pool, tasks.pid)
    os.kill(before, signal.SIGKILL)

    after = await output(pool, tasks.pid)

    assert after != before


async def test_a_task_over_its_memory_fails_and_its_worker_is_replaced(pool: ProcessPool) -> None:
    before = await output(pool, tasks.pid)

    failed = await failure(pool, tasks.fill_memory, mib=1024)

    assert failed.error.type == "MemoryError"
    assert failed.error.message == "MemoryError: a worker process may have 512 MiB"
    assert not running(before)
    assert await output(pool, tasks.fill_memory, mib=16) == 16 * tasks.MIB


async def test_a_worker_has_its_limits(pool: ProcessPool) -> None:
    assert await output(pool, tasks.limits) == {"core": 0, "memory": 512 * tasks.MIB}


async def test_a_worker_inherits_its_pipes_and_nothing_of_the_daemon(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@insula-test")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    monkeypatch.setenv("PLAIN", "1")
    kept = os.open(ROOT / "pyproject.toml", os.O_RDONLY)
    os.set_inheritable(kept, True)

    seen = await output(pool, tasks.surroundings)

    os.close(kept)
    assert "PLAIN" in seen["environment"]
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(seen["environment"])
    assert len(seen["above"]) == 3
    assert seen["of_children"].strip() == "['0', '1', '2', '3']"
    assert seen["group"] is True
    assert seen["input"] == ""


async def test_what_a_task_prints_goes_to_the_daemons_stderr(
    pool: ProcessPool, capfd: pytest.CaptureFixture[str]
) -> None:
    assert await output(pool, tasks.chatter) == "quiet"

    printed = capfd.readouterr()
    assert "printed" not in printed.out
    assert "printed\nwithout an end" in printed.err.replace('\0\0\0\x12{"type":"started"}\n', "")
    assert "complained\n" in printed.err


async def test_the_copy_of_a_task_that_forks_answers_nothing(pool: ProcessPool) -> None:
    assert await output(pool, tasks.fork) == "the original"
    assert await output(pool, tasks.load) == [1, 2]


async def test_a_large_output_comes_whole(pool: ProcessPool) -> None:
    assert await output(pool, tasks.large, size=5_000_000) == "x" * 5_000_000


async def test_a_large_input_arrives_whole(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.refuse, error="x" * 5_000_000)

    assert failed.error.type == "KeyError"


async def test_an_output_that_no_message_holds_fails_the_attempt() -> None:
    async with ProcessPool(size=1, memory_bytes=None) as pool:
        failed = await failure(pool, tasks.large, size=wire.REPLY_BYTES)

        assert failed.error.type == "OutputTooLarge"
        assert len(pool.pids) == 1
        assert await output(pool, tasks.load) == [1, 2]


@pytest.mark.parametrize("how", ["output", "set", "cycle"])
async def test_what_has_no_json_form_fails_the_attempt(pool: ProcessPool, how: str) -> None:
    failed = await failure(pool, tasks.unserialisable, how=how)

    assert failed.error.type in {"TypeError", "RecursionError"}
    assert await output(pool, tasks.load) == [1, 2]


async def test_a_worker_has_no_database_and_says_what_to_do(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.query)

    assert failed.error.type == "NoDatabase"
    assert "runs in a worker process" in failed.error.message


async def test_fifty_calls_share_two_workers(pool: ProcessPool) -> None:
    pids: list[int] = []

    async def run() -> None:
        pids.append(await output(pool, tasks.pid))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(run)

    assert len(pids) == 50
    assert set(pids) == pool.pids
    assert len(pool.pids) == 2


async def test_calls_are_served_in_the_order_they_came() -> None:
    ended: list[int] = []

    async def run(pool: ProcessPool, number: int) -> None:
        await output(pool, tasks.load)
        ended.append(number)

    async with ProcessPool(size=1, memory_bytes=None) as pool, anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(run, pool, number)

    assert ended == list(range(20))


async def test_a_worker_is_replaced_after_its_number_of_tasks() -> None:
    async with ProcessPool(size=1, memory_bytes=None, tasks_per_worker=2) as pool:
        pids = [await output(pool, tasks.pid) for _ in range(5)]

        first, second, third = dict.fromkeys(pids)
        assert pids == [first, first, second, second, third]
        assert not running(first)
        assert pool.pids == {third}


def test_workers_serve_a_loop_of_uvloop_too() -> None:
    async def main() -> tuple[Any, Failed]:
        async with ProcessPool(size=1, memory_bytes=None) as pool:
            return await output(pool, tasks.large, size=500_000), await failure(
                pool, tasks.die, how="exit"
            )

    answer, failed = anyio.run(main, backend_options={"use_uvloop": True})

    assert answer == "x" * 500_000
    assert "exit code 3" in failed.error.message


_DAEMON = """
import sys, anyio, msgspec
from orchestrator.observability import logging
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.processes.wire import ProcessCall
from tests.engine import process_tasks as tasks
def call(**input): return ProcessCall(input=msgspec.Raw(msgspec.json.encode(input)))
async def main():
    logging.set_up("info", "json")
    async with ProcessPool(size=3, memory_bytes=None) as pool, anyio.create_task_group() as group:
        group.start_soon(pool.run, tasks.hang_for_good, call(note=sys.argv[1] + "/hanging"))
        group.start_soon(pool.run, tasks.spin_in_c, call(note=sys.argv[1] + "/spinning"))
        print(msgspec.json.decode((await pool.run(tasks.pid, call())).output), flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


async def test_no_worker_outlives_a_daemon_that_is_killed(tmp_path: Path) -> None:
    program = [sys.executable, "-c", _DAEMON, str(tmp_path)]
    async with await anyio.open_process(program, cwd=ROOT, stderr=None) as daemon:
        assert daemon.stdout is not None
        idle = int(await daemon.stdout.receive())
        left = [idle, *await noted(tmp_path / "hanging"), *await noted(tmp_path / "spinning")]
        assert all(running(each) for each in left)

        daemon.kill()

    await until(lambda: not any(running(each) for each in left), within=2)


def _local() -> Callable[..., Any]:
    def nested(ctx: Context) -> None: ...

    return nested


async def _asynchronous(ctx: Context) -> None: ...


def _plain(ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("function", "executor", "message"),
    [
        (_plain, "rocket", "executor is 'thread' or 'process'; got 'rocket'"),
        (_asynchronous, "process", "executor='process' is for sync functions"),
        (_local(), "process", "a worker process can not import _local.<locals>.nested"),
        (lambda _: None, "process", "a worker process can not import <lambda>"),
    ],
)
def test_an_executor_that_can_not_run_the_function_is_a_definition_error(
    function: Callable[..., Any], executor: Any, message: str
) -> None:
    workflow = Workflow("wrong")

    with pytest.raises(DefinitionError) as raised:
        workflow.task(name="step", executor=executor)(function)

    assert str(raised.value).startswith(
        f"{__file__}:{function.__code__.co_firstlineno}: task 'step'"
    )
    assert message in str(raised.value)


def test_a_function_whose_name_stands_for_another_is_a_definition_error() -> None:
    workflow = Workflow("wrong")
    workflow.task(name="step", executor="process")(_plain)
    _plain_before = globals()["_plain"]
    globals()["_plain"] = _local()

    try:
        with pytest.raises(DefinitionError, match=r"_plain is another function by now"):
            workflow.check()
    finally:
        globals()["_plain"] = _plain_before


def test_workflows_of_process_tasks_pass_their_check() -> None:
    tasks.tasks.check()
    tasks.nightly.check()
