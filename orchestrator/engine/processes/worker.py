"""The program of a worker process: it takes one attempt after the other until its daemon is gone.

User code runs on the main thread. Its standard output and error are the daemon's standard error;
the answers have a pipe of their own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NoReturn, cast

import msgspec
import structlog

from orchestrator.engine import outcome
from orchestrator.engine.failures import OutputTooLarge, TaskExited
from orchestrator.engine.processes.wire import (
    HEADER,
    REPLY_BYTES,
    AskSecret,
    Raised,
    Request,
    Returned,
    Setup,
    Started,
    Told,
    frame,
    kind,
)
from orchestrator.model.api import Failure
from orchestrator.model.errors import revive
from orchestrator.observability import logging
from orchestrator.workflow.cache import Cache, NoCache
from orchestrator.workflow.context import Context, Database, NoDatabase
from orchestrator.workflow.define import function_at
from orchestrator.workflow.durable import Durability, NoEngine
from orchestrator.workflow.parameters import Parameters
from orchestrator.workflow.secret import Revealed

OUT_OF_MEMORY_SCORE = "500"
"""Added to a worker's badness, so that the kernel takes it before the daemon or the database."""

_REQUESTS = msgspec.json.Decoder(Request)
_TOLD = msgspec.json.Decoder(Told)


class NotHere:
    """In place of the engine: the durable calls need the daemon's journal."""

    def __getattr__(self, call: str) -> NoReturn:
        raise NoEngine(
            f"ctx.{call} is not there in a worker process",
            hint="make durable calls in a task without executor='process'",
        )


class Asked:
    """Reads secrets over the pipe: what holds them is the daemon. One question at a time."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._turn = threading.Lock()

    async def read(self, name: str, /) -> str:
        """Return the value; raises what the daemon's reading raised."""
        with self._turn:
            told = _TOLD.decode(self._pipe.ask(frame(AskSecret(name))))
        if (error := told.error) is not None:
            raise revive(error.code, error.sentence, error.hint, error.data)
        return told.value


class ProcessContext(Context):
    """The context of a task in a worker process: neither database nor durable calls."""

    @property
    def db(self) -> Database:
        """Not there: the connection is the daemon's."""
        raise NoDatabase(
            f"task {self.task!r} runs in a worker process, which has no database connection",
            hint="leave out executor='process' for the tasks that use ctx.db, and hand the data "
            "over as a task's output",
        )

    @property
    def cache(self) -> Cache:
        """Not there: the connection is the daemon's."""
        raise NoCache(
            f"task {self.task!r} runs in a worker process, which has no cache",
            hint="leave out executor='process' for the tasks that use ctx.cache",
        )


def main() -> None:
    """Serve the pipes whose numbers are this program's last three arguments."""
    requests, replies, lifeline = (int(each) for each in sys.argv[-3:])
    for descriptor in (requests, replies, lifeline):
        os.set_inheritable(descriptor, False)
    _die_with(lifeline)
    pipe = Pipe(requests, replies)
    setup = pipe.receive()
    if setup is None:
        return
    memory = _limit(msgspec.json.decode(setup, type=Setup))
    while (payload := pipe.receive()) is not None:
        pipe.send(_attempt(_REQUESTS.decode(payload), pipe, memory))


class Pipe:
    """The two pipes to the daemon."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests = requests
        self._replies = replies
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """False in a process that user code forked off and that came back out of the task."""
        return os.getpid() == self._pid

    def receive(self) -> bytes | None:
        """Wait for the next message; None when the daemon closed the pipe."""
        header = self._read(HEADER.size)
        return header and self._read(HEADER.unpack(header)[0])

    def send(self, message: bytes) -> None:
        """Send a reply in its frame."""
        if not self.ours:
            os._exit(0)
        rest = memoryview(message)
        while rest:
            rest = rest[os.write(self._replies, rest) :]

    def ask(self, question: bytes) -> bytes:
        """Send a question and return its answer, while the task runs."""
        if not self.ours:
            raise NoEngine("ctx.secret: a process that the task forked off has no daemon to ask")
        self.send(question)
        answer = self.receive()
        if answer is None:
            os._exit(0)
        return answer

    def _read(self, size: int) -> bytes | None:
        parts: list[bytes] = []
        while size:
            part = os.read(self._requests, size)
            if not part:
                return None
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _die_with(lifeline: int) -> None:
    """Have the kernel kill this process group the moment the daemon's end of `lifeline` closes.

    A thread that waits for the end of file would need the interpreter, which a task deep in C code
    may hold for ever; PR_SET_PDEATHSIG would leave alone what the task itself started.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    # It may have been closed before it was asked to tell.
    closed = select.poll()
    closed.register(lifeline, 0)
    if closed.poll(0):
        os._exit(0)


def _limit(setup: Setup) -> int | None:
    """Bound this process; return how much memory it may have."""
    faulthandler.enable()
    # A line is written when it is whole: no line waits for the next flush, or mixes with another's.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    logging.set_up(setup.log_level, cast("Literal['auto', 'json', 'console']", setup.log_format))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OUT_OF_MEMORY_SCORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if setup.memory_bytes is None:
        return None
    _, allowed = resource.getrlimit(resource.RLIMIT_AS)
    bytes_ = setup.memory_bytes if allowed < 0 else min(setup.memory_bytes, allowed)
    resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
    return bytes_


def _attempt(request: Request, pipe: Pipe, memory: int | None) -> bytes:
    """Run one attempt and return the reply; whatever user code raises is one."""
    revealed = Revealed()
    try:
        call, ctx = _prepare(request, pipe)
        revealed = ctx.revealed
        pipe.send(frame(Started()))
        return _returned(call(), ctx)
    except BaseException as error:
        if not pipe.ours:
            raise
        return frame(_raised(error, request.call.current.task, memory, revealed))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()


def _prepare(request: Request, pipe: Pipe) -> tuple[Callable[[], object], Context]:
    """Find the function and what it is called with; return the call, and its context."""
    seen = request.call
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(
        tenant=seen.tenant.id,
        run=str(seen.current.run_id),
        task=seen.current.task,
        attempt=seen.current.attempt,
    )
    function = function_at(request.module, request.qualname)
    ctx = ProcessContext(
        input=msgspec.json.decode(seen.input),
        values=seen.values,
        outputs={name: msgspec.json.decode(output) for name, output in seen.outputs.items()},
        tenant=seen.tenant,
        current=seen.current,
        durable=cast("Durability", NotHere()),
        secrets=Asked(pipe),
    )
    logging.hide_secrets(ctx.revealed)
    arguments = Parameters.of(function, f"task {ctx.task!r}").decode(ctx.input)
    return partial(function, ctx, **arguments), ctx


def _returned(output: object, ctx: Context) -> bytes:
    done = outcome.keep_secrets(outcome.succeeded(output, ctx.changes), ctx.revealed)
    message = frame(Returned(output=done.output, values=done.values))
    if len(message) - HEADER.size > REPLY_BYTES:
        raise OutputTooLarge(
            f"the output and what was set are {len(message)} bytes, "
            f"a worker process may send {REPLY_BYTES}"
        )
    return message


def _raised(error: BaseException, task: str, memory: int | None, revealed: Revealed) -> Raised:
    out_of_memory = isinstance(error, MemoryError)
    if isinstance(error, SystemExit | KeyboardInterrupt):
        exited = TaskExited(f"the task ended the program: {error!r}")
        exited.__cause__ = error
        error = exited
    failure = _described(error, task, revealed)
    if out_of_memory and memory is not None:
        bound = f"a worker process may have {memory // 1024**2} MiB"
        failure = msgspec.structs.replace(failure, message=f"{failure.message}: {bound}")
    return Raised(
        error=failure, kinds=[kind(each) for each in type(error).__mro__], spoiled=out_of_memory
    )


def _described(error: BaseException, task: str, revealed: Revealed) -> Failure:
    try:
        return outcome.describe(error, task, revealed)
    except BaseException as second:  # noqa: BLE001 - __str__ is user code, and memory may be out
        error.__traceback__ = None
        message = f"raised, and could not be described: {type(second).__name__}"
        return Failure(type=type(error).__name__, message=message, task=task)
