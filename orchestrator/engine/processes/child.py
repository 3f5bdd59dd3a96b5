"""One worker process as the daemon sees it: started, called, killed, reaped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress

import anyio
import msgspec

from orchestrator.engine.failures import AttemptTimeout, WorkerDied
from orchestrator.engine.processes.wire import (
    HEADER,
    REPLY_BYTES,
    AskSecret,
    Raised,
    Refused,
    Reply,
    Request,
    Returned,
    Setup,
    Started,
    Told,
    decode_reply,
    frame,
)
from orchestrator.model.errors import InsulaError

Secret = Callable[[str], Awaitable[str]]
"""Reads a secret of the tenant whose task runs."""

START_SECONDS = 60.0
"""How long a worker may take to start and to import the task's module."""

REAP_SECONDS = 5.0
"""How long the end of a killed process is waited for; only one stuck in the kernel takes longer."""

# The daemon's path, so that a worker imports what the daemon would; -P keeps the working directory
# out of it.
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from orchestrator.engine.processes.worker import main; main()"
)
# They speak of the daemon alone: a worker that inherits them could report the unit ready or stuck.
_DAEMON_ONLY = {
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
}
_READ_BYTES = 1024 * 1024
_SIGNALS = {int(each) for each in signal.Signals}


class Child:
    """A worker process in a session and process group of its own.

    `watch` must be under way for as long as it lives. It does not inherit the variables of the
    environment named in `withheld`. Raises OSError when it can not be started.
    """

    def __init__(self, setup: Setup, withheld: frozenset[str] = frozenset()) -> None:
        self.calls = 0
        self.touched = False
        self.spoiled = False
        self.gone = anyio.Event()
        self._buffer = bytearray()
        self._busy = False
        self._waiting: anyio.CancelScope | None = None
        with ExitStack() as ours, ExitStack() as theirs:
            request_end, self._requests = _pipe(theirs, ours)
            lifeline_end, _ = _pipe(theirs, ours)
            self._replies, reply_end = _pipe(ours, theirs)
            self._process = _start((request_end, reply_end, lifeline_end), withheld)
            ours.callback(self._leave_none)
            self._pidfd = os.pidfd_open(self._process.pid)
            ours.callback(os.close, self._pidfd)
            os.set_blocking(self._requests, False)
            os.set_blocking(self._replies, False)
            os.write(self._requests, frame(setup))
            self._open = ours.pop_all()

    @property
    def pid(self) -> int:
        """The process, which is also its group."""
        return self._process.pid

    async def watch(self) -> None:
        """Return when the process has ended and nothing of its group is left."""
        with anyio.CancelScope(shield=True):
            await anyio.wait_readable(self._pidfd)
        # Before the process is reaped: until then no other process can get its number.
        self.kill()
        self._process.poll()
        self.gone.set()
        if self._waiting is not None:
            self._waiting.cancel()
        if not self._busy:
            self._open.close()

    def kill(self) -> None:
        """Kill the process and all it started, unless they left its group."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill, and return when the process is gone."""
        self.kill()
        with anyio.move_on_after(REAP_SECONDS, shield=True):
            await self.gone.wait()

    async def call(self, request: Request, seconds: float, secret: Secret) -> Returned | Raised:
        """Run one attempt and return its answer; `secret` answers what it asks for meanwhile.

        Raises AttemptTimeout or WorkerDied; after them, or a cancellation, the worker must end.
        `touched` stays False when it was dead before it took the call up, `spoiled` becomes True
        when it should take no other.
        """
        self.calls += 1
        self._busy = True
        self.touched = False
        try:
            reply = await self._exchange(request, seconds, secret)
            self.spoiled = isinstance(reply, Raised) and reply.spoiled
            return reply
        finally:
            self._busy = False
            if self.gone.is_set():
                self._open.close()

    async def _exchange(
        self, request: Request, seconds: float, secret: Secret
    ) -> Returned | Raised:
        with anyio.move_on_after(START_SECONDS):
            await self._write(frame(request))
            reply = await self._read()
            self.touched = True
            if isinstance(reply, Returned | Raised):
                return reply
        if not self.touched:
            self.touched = True
            raise WorkerDied(
                f"the worker process was killed: it took longer than {START_SECONDS:g} s "
                f"to start and import {request.module}"
            )
        with anyio.move_on_after(seconds):
            while isinstance(reply := await self._read(), AskSecret):
                await self._write(frame(await _told(secret, reply.name)))
            if isinstance(reply, Started):
                raise WorkerDied("the worker process was killed: it sent what is no reply")
            return reply
        raise AttemptTimeout(f"the attempt took longer than {seconds:g} s; its process was killed")

    async def _write(self, message: bytes) -> None:
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[os.write(self._requests, rest) :]
            except BlockingIOError:
                await self._until(anyio.wait_writable, self._requests)
            except BrokenPipeError:
                raise await self._death() from None

    async def _read(self) -> Reply:
        await self._fill(HEADER.size)
        (size,) = HEADER.unpack_from(self._buffer)
        if size > REPLY_BYTES:
            raise WorkerDied(f"the worker process was killed: it sent a message of {size} bytes")
        await self._fill(HEADER.size + size)
        payload = bytes(memoryview(self._buffer)[HEADER.size :])
        self._buffer.clear()
        try:
            return decode_reply(payload)
        except (msgspec.DecodeError, RecursionError) as error:
            raise WorkerDied(
                f"the worker process was killed: it sent what is no reply ({error})"
            ) from None

    async def _fill(self, size: int) -> None:
        """Read until there are `size` bytes; never more, so that messages do not mix."""
        while (missing := size - len(self._buffer)) > 0:
            try:
                part = os.read(self._replies, min(missing, _READ_BYTES))
            except BlockingIOError:
                # A process that the task forked off may hold the pipe open after the worker died.
                if self.gone.is_set():
                    raise await self._death() from None
                await self._until(anyio.wait_readable, self._replies)
                continue
            if not part:
                raise await self._death()
            self._buffer += part

    async def _until(self, ready: Callable[[int], Awaitable[None]], descriptor: int) -> None:
        """Wait until the pipe is ready or the process is gone."""
        try:
            with anyio.CancelScope() as self._waiting:
                await ready(descriptor)
        finally:
            self._waiting = None

    async def _death(self) -> WorkerDied:
        """Say how the process ended whose pipe is closed."""
        with anyio.move_on_after(REAP_SECONDS):
            await self.gone.wait()
        return WorkerDied(_how(self._process.returncode))

    def _leave_none(self) -> None:
        if self._process.returncode is None:
            self.kill()
            self._process.wait()


async def _told(secret: Secret, name: str) -> Told:
    try:
        return Told(value=await secret(name))
    except InsulaError as error:
        refused = Refused(code=error.code, sentence=str(error), hint=error.hint, data=error.data)
        return Told(error=refused)


def _pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    """Return both ends of a new pipe; each stack closes its own."""
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    return ends


def _start(descriptors: tuple[int, ...], withheld: frozenset[str]) -> subprocess.Popen[bytes]:
    left_out = _DAEMON_ONLY | withheld
    path = json.dumps(sys.path, default=str)
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-P", "-c", _PROGRAM, path, *map(str, descriptors)],
        stdin=subprocess.DEVNULL,
        stdout=2,
        pass_fds=descriptors,
        start_new_session=True,
        env={name: value for name, value in os.environ.items() if name not in left_out},
    )


def _how(code: int | None) -> str:
    if code is None:
        return "the worker process was killed: it closed its pipe to the daemon"
    if code >= 0:
        return f"the worker process ended with exit code {code} before the task was done"
    name = signal.Signals(-code).name if -code in _SIGNALS else f"signal {-code}"
    described = signal.strsignal(-code) or "unknown"
    out_of_memory = (
        "; when nobody did that, the system was out of memory" if -code == signal.SIGKILL else ""
    )
    return f"the worker process was killed by {name} ({described}){out_of_memory}"
