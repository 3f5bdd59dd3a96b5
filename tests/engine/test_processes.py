"""The process executor on real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import msgspec
import pytest
import pytest_asyncio

from orchestrator.engine.entries import NOTHING
from orchestrator.engine.outcome import Failed, Succeeded
from orchestrator.engine.processes import child, wire
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.processes.wire import ProcessCall
from orchestrator.workflow.context import Context, Current, TenantInfo
from orchestrator.workflow.define import AnyTask
from orchestrator.workflow.retry import Retry
from orchestrator.workflow.secret import GivenSecrets
from orchestrator.workflow.task import Task
from tests.engine import process_tasks as tasks
from tests.support.wait import until

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[ProcessPool]:
    """Yield a pool of two workers that the tests share, as the tenants of a node do.

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


no_secret = GivenSecrets("acme", {}).read


def call(input: Mapping[str, Any] | None = None) -> ProcessCall:
    """Return what a task sees that was given `input` and nothing else."""
    return ProcessCall(input=msgspec.Raw(msgspec.json.encode(input or {})))


async def output(pool: ProcessPool, task: AnyTask, **input: Any) -> Any:
    """Run an attempt that succeeds; return its output."""
    outcome = await pool.run(task, call(input), no_secret)
    assert isinstance(outcome, Succeeded), outcome
    return msgspec.json.decode(outcome.output)


async def failure(pool: ProcessPool, task: AnyTask, **input: Any) -> Failed:
    """Run an attempt that fails; return how."""
    outcome = await pool.run(task, call(input), no_secret)
    assert isinstance(outcome, Failed), outcome
    return outcome


def running(pid: int) -> bool:
    """Return whether a process runs; one that nobody has reaped yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


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
        no_secret,
    )

    assert isinstance(outcome, Succeeded)
    assert msgspec.json.decode(outcome.values) == {"seen": ["a", None]}
    assert msgspec.json.decode(outcome.output) == {
        "sum": 7.0,
        "who": ["acme", {"hub": "LHR"}, str(UUID(int=7)), "add", 3],
        "key": f"acme:{UUID(int=7)}:add",
    }


async def test_a_task_that_sets_nothing_says_so_by_identity(pool: ProcessPool) -> None:
    outcome = await pool.run(tasks.load, call(), no_secret)

    assert isinstance(outcome, Succeeded)
    assert outcome.values is NOTHING


async def test_the_function_of_a_job_is_found(pool: ProcessPool) -> None:
    (task,) = tasks.nightly.tasks.values()

    assert await output(pool, task) == "done"


async def test_an_exception_comes_with_message_traceback_and_what_the_policy_says_of_it(
    pool: ProcessPool,
) -> None:
    found = {
        each: await failure(pool, tasks.refuse, error=each)
        for each in ("Unlucky", "KeyError", "Fail")
    }

    assert [each.retryable for each in found.values()] == [True, False, False]
    for name, failed in found.items():
        assert failed.error.type == name
        assert "no luck, " in failed.error.message
        assert "\0" not in failed.error.message
    assert "raise known[error]" in (found["Unlucky"].error.traceback or "")


async def test_a_policy_may_name_one_class(pool: ProcessPool) -> None:
    arithmetic: Any = ArithmeticError
    task = replace(tasks.refuse, retry=Retry(attempts=2, on=arithmetic))

    found = [await failure(pool, task, error=each) for each in ("Unlucky", "KeyError")]

    assert [each.retryable for each in found] == [True, False]


async def test_an_exception_that_can_not_be_described_is_named(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.refuse, error="Unspeakable")

    assert failed.error.type == "Unspeakable"
    assert failed.error.message == "Unspeakable, whose message can not be read"


async def test_input_that_does_not_fit_fails_the_attempt(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.add, number="eight")

    assert failed.error.type == "ValidationError"


@pytest.mark.requirement("R2.process", "R5.process")
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
    worker, started = await noted(tmp_path / "note")
    assert not running(worker)
    await until(lambda: not running(started))


async def test_a_cancelled_attempt_is_dead_when_the_cancellation_comes_through(
    pool: ProcessPool, tmp_path: Path
) -> None:
    async with anyio.create_task_group() as group:
        note = call({"note": str(tmp_path / "note")})
        group.start_soon(pool.run, tasks.hang_for_good, note, no_secret)
        worker, started = await noted(tmp_path / "note")
        group.cancel_scope.cancel()

    assert not running(worker)
    await until(lambda: not running(started))
    assert await output(pool, tasks.load) == [1, 2]


async def test_the_end_of_the_pool_ends_every_worker(tmp_path: Path) -> None:
    ended: list[bool] = []

    async def run(pool: ProcessPool) -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await pool.run(tasks.hang_for_good, call({"note": str(tmp_path / "note")}), no_secret)
        ended.append(True)

    async with anyio.create_task_group() as group, ProcessPool(size=2, memory_bytes=None) as pool:
        await output(pool, tasks.load)
        group.start_soon(run, pool)
        worker, _ = await noted(tmp_path / "note")

    assert ended
    assert not running(worker)
    assert pool.pids == frozenset()
    with pytest.raises(anyio.ClosedResourceError):
        await pool.run(tasks.load, call(), no_secret)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("segfault", "was killed by SIGSEGV"),
        ("kill", "was killed by SIGKILL"),
        ("exit", "ended with exit code 3 before the task was done"),
        ("close", "ended with exit code 1"),
    ],
)
@pytest.mark.requirement("R2.process")
async def test_a_worker_that_dies_fails_its_attempt_and_says_how(
    pool: ProcessPool, how: str, message: str
) -> None:
    failed = await failure(pool, tasks.die, how=how)

    assert failed.error.type == "WorkerDied"
    assert message in failed.error.message
    assert failed.retryable


async def test_a_worker_that_dies_takes_nobody_along(pool: ProcessPool, tmp_path: Path) -> None:
    async with anyio.create_task_group() as group:
        note = call({"note": str(tmp_path / "note")})
        group.start_soon(pool.run, tasks.hang_for_good, note, no_secret)
        other, _ = await noted(tmp_path / "note")

        await failure(pool, tasks.die, how="segfault")

        assert running(other)
        assert await output(pool, tasks.load) == [1, 2]
        group.cancel_scope.cancel()


async def test_a_task_that_ends_the_program_fails_and_its_worker_goes_on(
    pool: ProcessPool,
) -> None:
    before = await output(pool, tasks.pid)

    exited = await failure(pool, tasks.die, how="sys.exit")
    interrupted = await failure(pool, tasks.die, how="interrupt")

    assert {exited.error.type, interrupted.error.type} == {"TaskExited"}
    assert exited.error.message == "the task ended the program: SystemExit('enough')"
    assert "sys.exit(" in (exited.error.traceback or "")
    assert interrupted.error.message == "the task ended the program: KeyboardInterrupt()"
    assert await output(pool, tasks.pid) == before


async def test_a_module_that_does_not_end_its_import_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stuck_at_import.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(child, "START_SECONDS", 0.5)

    def function(ctx: Context) -> None: ...

    function.__module__ = "stuck_at_import"
    function.__qualname__ = "function"
    task: AnyTask = Task(workflow="stuck", name="stuck", function=function, executor="process")

    async with ProcessPool(size=1, memory_bytes=None) as pool:
        failed = await failure(pool, task)

    assert failed.error.type == "WorkerDied"
    assert "longer than 0.5 s to start and import stuck_at_import" in failed.error.message


async def test_an_idle_worker_that_died_costs_no_attempt(pool: ProcessPool) -> None:
    before = await output(pool, tasks.pid)
    os.kill(before, signal.SIGKILL)

    after = await output(pool, tasks.pid)

    assert after != before
    assert len(pool.pids) <= 2


async def test_a_task_over_its_memory_fails_and_its_worker_is_replaced(pool: ProcessPool) -> None:
    before = await output(pool, tasks.pid)

    failed = await failure(pool, tasks.fill_memory, mib=1024)

    assert failed.error.type == "MemoryError"
    assert failed.error.message == "MemoryError: a worker process may have 512 MiB"
    assert not running(before)
    assert await output(pool, tasks.fill_memory, mib=16) == 16 * tasks.MIB


async def test_an_output_beyond_its_memory_fails_the_attempt_alone() -> None:
    async with ProcessPool(size=1, memory_bytes=200 * tasks.MIB) as pool:
        failed = await failure(pool, tasks.large, size=60_000_000)

        # Code in C may not survive that an allocation fails.
        assert failed.error.type in {"MemoryError", "WorkerDied"}
        assert await output(pool, tasks.load) == [1, 2]


async def test_a_worker_has_its_limits(pool: ProcessPool) -> None:
    assert await output(pool, tasks.limits) == {"core": 0, "memory": 512 * tasks.MIB}


async def test_a_worker_inherits_its_pipes_and_nothing_of_the_daemon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "@insula-test")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    monkeypatch.setenv("PLAIN", "1")
    kept = os.open(ROOT / "pyproject.toml", os.O_RDONLY)
    os.set_inheritable(kept, True)

    withheld = frozenset({"DATABASE_URL"})
    monkeypatch.setenv("DATABASE_URL", "postgresql://admin:secret@db/app")
    async with ProcessPool(size=1, memory_bytes=None, withheld=withheld) as pool:
        seen = await output(pool, tasks.surroundings)

    os.close(kept)
    assert "PLAIN" in seen["environment"]
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "DATABASE_URL"} & set(seen["environment"])
    assert len(seen["above"]) == 3
    assert seen["of_children"].strip() == "['0', '1', '2', '3']"
    assert seen["group"] is True
    assert seen["input"] == ""


async def test_what_a_task_prints_goes_to_the_daemons_stderr(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with ProcessPool(size=1, memory_bytes=None) as pool:
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
        before = await output(pool, tasks.pid)

        failed = await failure(pool, tasks.large, size=wire.REPLY_BYTES)

        assert failed.error.type == "OutputTooLarge"
        assert await output(pool, tasks.pid) == before


async def test_what_has_no_json_form_fails_the_attempt(pool: ProcessPool) -> None:
    found = [
        await failure(pool, tasks.unserialisable, how=how) for how in ("output", "set", "cycle")
    ]

    assert [each.error.type for each in found] == ["TypeError", "TypeError", "ValueError"]
    assert await output(pool, tasks.load) == [1, 2]


async def test_a_worker_has_no_database_and_says_so(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.query)

    assert failed.error.type == "NoDatabase"
    assert "runs in a worker process" in failed.error.message


async def test_a_worker_makes_no_durable_calls_and_says_so(pool: ProcessPool) -> None:
    failed = await failure(pool, tasks.rest)

    assert failed.error.type == "NoEngine"
    assert failed.error.message.startswith("ctx.sleep is not there in a worker process")


async def test_fifty_calls_share_two_workers(pool: ProcessPool) -> None:
    pids: list[int] = []

    async def run() -> None:
        pids.append(await output(pool, tasks.pid))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(run)

    assert len(pids) == 50
    # The one that was up first may have done it all.
    assert set(pids) <= pool.pids
    assert len(pool.pids) == 2
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
    before = descriptors()

    async with ProcessPool(size=1, memory_bytes=None, tasks_per_worker=2) as pool:
        pids = [await output(pool, tasks.pid) for _ in range(5)]

        first, second, third = dict.fromkeys(pids)
        assert pids == [first, first, second, second, third]
        assert not running(first)
        assert pool.pids == {third}

    assert descriptors() == before


async def test_workers_serve_a_loop_of_uvloop_too() -> None:
    async def main() -> tuple[Any, Failed]:
        async with ProcessPool(size=1, memory_bytes=None) as pool:
            answer = await output(pool, tasks.large, size=500_000)
            return answer, await failure(pool, tasks.die, how="exit")

    run = partial(anyio.run, main, backend_options={"use_uvloop": True})
    answer, failed = await anyio.to_thread.run_sync(run)

    assert answer == "x" * 500_000
    assert "exit code 3" in failed.error.message


_DAEMON = """
import anyio, msgspec
from sys import argv
from orchestrator.observability import logging
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.processes.wire import ProcessCall
from orchestrator.workflow.secret import GivenSecrets
from tests.engine import process_tasks as tasks
no_secret = GivenSecrets("acme", {}).read
def call(**input): return ProcessCall(input=msgspec.Raw(msgspec.json.encode(input)))
async def main():
    logging.set_up("info", "json")
    async with ProcessPool(size=3, memory_bytes=None) as pool, anyio.create_task_group() as group:
        group.start_soon(pool.run, tasks.hang_for_good, call(note=argv[1] + "/hanging"), no_secret)
        group.start_soon(pool.run, tasks.spin_in_c, call(note=argv[1] + "/spinning"), no_secret)
        pid = await pool.run(tasks.pid, call(), no_secret)
        print(msgspec.json.decode(pid.output), flush=True)
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
