"""Loads the configuration, builds the parts, serves until told to stop, and drains."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import anyio
import structlog

from orchestrator.daemon import attention, event_loop, signals
from orchestrator.daemon.attempts import attempt_of
from orchestrator.daemon.garbage import search_seldom
from orchestrator.daemon.loop_watch import LoopWatch
from orchestrator.daemon.pauses import ToldPauses, paused_in
from orchestrator.daemon.reload import Reloader
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.daemon.services import DaemonServices
from orchestrator.daemon.shards import outage_of, statuses
from orchestrator.daemon.signals import Hangups
from orchestrator.daemon.status_line import keep_status
from orchestrator.daemon.wiring import Parts, build
from orchestrator.http.app import build_app
from orchestrator.http.serve import bind_tcp, bind_unix
from orchestrator.http.serve import serve as serve_http
from orchestrator.model.api import Status
from orchestrator.model.clock import SystemClock
from orchestrator.model.errors import InsulaError
from orchestrator.model.ids import TenantId
from orchestrator.model.version import version
from orchestrator.observability import stacks
from orchestrator.observability.logging import set_level, set_up
from orchestrator.settings.directories import control_socket
from orchestrator.settings.load import Snapshot, load
from orchestrator.store.embedded import StateLock
from orchestrator.workflow import registry as workflows
from orchestrator.workflow.named import unfit
from orchestrator.workflow.registry import Registry
from supervisors.guard import telling

DONE = 0
FAILED = 1

THREADS_END_SECONDS = 0.5
"""By then threads that were told to end when the loop was closed have ended, on any machine."""

log = structlog.get_logger(__name__)


def serve(config: Path | None) -> int:
    """Run the daemon until SIGTERM or SIGINT; return the exit code.

    Raises ConfigError, DefinitionError, StartError, DatabaseUnavailable or DatabaseRefused when it
    can not start.
    """
    hangups = signals.Hangups()
    snapshot = load(config, os.environ)
    set_up(snapshot.settings.log.level, snapshot.settings.log.format)
    notifier = Notifier()
    registry = workflows.load(snapshot.settings.workflows.modules)
    warn_of_workflows(snapshot, registry)
    with StateLock(snapshot.state_dir), _sockets(snapshot) as sockets:
        daemon = Daemon(snapshot, registry, sockets, config, notifier, hangups)
        code = _run(daemon)
    _leave_threads_behind(code)
    return code


def _run(daemon: Daemon) -> int:
    """Run `daemon`; what ends it unasked is logged, and raised when it is an error of ours."""
    try:
        event_loop.run(daemon.run())
    except (Exception, BaseExceptionGroup) as error:
        cause = telling(error)
        expected = isinstance(cause, InsulaError)
        if daemon.ready or not expected:  # what kept it from starting is said by who raised it
            log.critical("daemon.failed", error=str(cause), exc_info=None if expected else error)
        if expected:
            raise cause from None
        return FAILED
    return DONE


def _leave_threads_behind(code: int) -> None:
    """End the process here if a task's thread still runs: Python would wait for it for ever.

    Everything is closed by now, and what such a thread does is not recorded any more. One that has
    been told to end is given the time to do so.
    """
    until = monotonic() + THREADS_END_SECONDS
    others = set(threading.enumerate()) - {threading.current_thread()}
    waited_for = [thread for thread in others if not thread.daemon]
    for thread in waited_for:
        thread.join(max(0.0, until - monotonic()))
    left = sum(thread.is_alive() for thread in waited_for)
    if left:
        log.warning("daemon.threads_left", count=left)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def warn_of_workflows(snapshot: Snapshot, registry: Registry) -> None:
    """Log what tenants name and this node can not run; another node may serve it."""
    for problem in unfit(snapshot.workflows, registry):
        log.warning("config.workflow_unfit", problem=problem)


class Daemon:
    """One process: the life between the first configuration and the last log line."""

    def __init__(
        self,
        snapshot: Snapshot,
        registry: Registry,
        sockets: list[socket.socket],
        config: Path | None,
        notifier: Notifier,
        hangups: Hangups,
    ) -> None:
        self._snapshot = snapshot
        self._hangups = hangups
        self._registry = registry
        self._sockets = sockets
        self._config = config
        self._clock = SystemClock()
        self._notifier = notifier
        self._started_at = datetime.now(UTC)
        self._drain_wanted = anyio.Event()
        self._starting: anyio.CancelScope | None = None
        self._serving: anyio.CancelScope | None = None
        self.ready = False
        self._parts: Parts
        self._reloader: Reloader
        self._watch: LoopWatch

    async def run(self) -> None:
        """Serve until a signal says stop; whatever ends a loop of ours unasked ends the process."""
        async with anyio.create_task_group() as group:
            await group.start(self._listen_to_signals)
            with anyio.CancelScope() as self._starting:
                async with build(
                    self._snapshot, self._registry, self._clock, self._notifier
                ) as parts:
                    self._parts = parts
                    await self._serve(parts)
            group.cancel_scope.cancel()
        log.info("daemon.stopped")

    async def _serve(self, parts: Parts) -> None:
        search_seldom()
        self._reloader = Reloader(self._snapshot, self._read, self._apply, self._notifier)
        services = DaemonServices(parts, self._snapshot)
        api = services.for_api(status=self._status, reload=self._reloader.reload)
        # Before the loop is watched: this holds it up for long, and there is nobody to wait for it.
        app = build_app(api, self._snapshot.settings.http)
        self._watch = LoopWatch(self._clock, self._notifier, parts.root.slots)
        async with anyio.create_task_group() as group:
            self._serving = group.cancel_scope
            group.start_soon(self._watch.run)
            group.start_soon(parts.keeper.watch)
            if parts.embedded is not None:
                group.start_soon(parts.embedded.watch)
            async with anyio.create_task_group() as starting:
                for keeper in parts.shard_keepers:
                    starting.start_soon(group.start, keeper.run)
            await group.start(parts.root.run)
            await group.start(serve_http, app, self._sockets)
            services.start(group)
            group.start_soon(self._reloader.run)
            group.start_soon(keep_status, parts.root, self._notifier)
            self._say_ready()
            if self._hangups.count:
                # The files may have changed after they were read.
                self._reloader.ask()
            await self._drain_wanted.wait()
            await self._drain()
            group.cancel_scope.cancel()

    # -- signals -----------------------------------------------------------------------

    async def _listen_to_signals(
        self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        await signals.obey(
            reload=self._ask_to_reload,
            drain=self._ask_to_drain,
            stop=self._stop,
            dump=self._dump,
            task_status=task_status,
        )

    def _ask_to_reload(self) -> None:
        # A drain is no time to start anything.
        if self._serving is None:
            self._hangups.count += 1
        elif not self._draining:
            self._reloader.ask()

    def _ask_to_drain(self) -> None:
        self._drain_wanted.set()
        if self._serving is None:
            self._stop()

    def _stop(self) -> None:
        scope = self._serving or self._starting
        if scope is not None:
            scope.cancel()

    @property
    def _draining(self) -> bool:
        return self._drain_wanted.is_set()

    async def _drain(self) -> None:
        supervision = self._snapshot.settings.supervision
        self._notifier.stopping("draining", within=supervision.drain_timeout.total_seconds())
        log.info("daemon.draining")
        await self._parts.root.drain(self._tell_progress)

    def _tell_progress(self, done: int, total: int) -> None:
        self._notifier.extend(f"draining {done}/{total}")

    def _say_ready(self) -> None:
        self.ready = True
        tenants = len(self._parts.root.slots)
        log.info(
            "daemon.ready",
            node=self._snapshot.settings.node.name,
            tenants=tenants,
            workflows=len(self._registry.latest),
            database=self._parts.target.redacted,
            socket=str(control_socket(self._snapshot.runtime_dir)),
            config=str(self._snapshot.source or "built-in defaults"),
        )
        self._notifier.ready(f"serving {tenants} tenants")

    def _read(self) -> Snapshot:
        snapshot = load(self._config, os.environ)
        warn_of_workflows(snapshot, self._registry)
        return snapshot

    async def _apply(self, snapshot: Snapshot) -> Mapping[TenantId, list[str]]:
        changed = await self._parts.tenants.publish(snapshot)
        set_level(snapshot.settings.log.level)
        self._parts.ground.processes.log_at(snapshot.settings.log.level)
        return changed

    def _dump(self) -> None:
        """Write what each tenant, each task and each thread of this process is doing."""
        slots = self._parts.root.slots if self._serving is not None else {}
        for tenant, slot in sorted(slots.items()):
            running = slot.engine.running_tasks if slot.engine else 0
            log.info("dump.slot", tenant=tenant, state=str(slot.state), running_tasks=running)
        for task, stack in stacks.of_tasks():
            attempt = attempt_of(slots, task)
            told = {} if attempt is None else attempt.fields
            log.info("dump.task", name=task.get_name(), **told, stack=stack)
        for name, stack in stacks.of_threads():
            log.info("dump.thread", name=name, stack=stack)
        log.info("dump.end", tenants=len(slots))

    async def _status(self) -> Status:
        parts, settings = self._parts, self._snapshot.settings
        told = await ToldPauses(parts.shards.control, parts.keeper.standing).of_all()
        paused, named = paused_in(parts.root.slots.values(), told)
        return Status(
            node=settings.node.name,
            incarnation=parts.node,
            version=version(),
            pid=os.getpid(),
            started_at=self._started_at,
            generation=self._reloader.generation,
            config_digest=self._reloader.snapshot.digest,
            draining=self._draining,
            tenants=len(parts.root.slots),
            slots={str(state): count for state, count in parts.root.states.items() if count},
            running_tasks=parts.ground.slots.used,
            max_concurrent_tasks=parts.ground.slots.total,
            busiest=attention.busiest(parts.root.slots.values()),
            quarantined=attention.quarantined(parts.root.slots.values()),
            paused_tenants=paused,
            paused=named,
            max_awake_tenants=settings.node.max_awake_tenants,
            database=parts.target.redacted,
            database_version=parts.server_version,
            database_outage=outage_of(parts.keeper.standing),
            shards=statuses(parts.shards, parts.root.slots.values()),
            loop_lag_ms=self._watch.lag_ms,
            loop_blocked=self._watch.last,
            last_reload=self._reloader.last,
        )


@contextmanager
def _sockets(snapshot: Snapshot) -> Iterator[list[socket.socket]]:
    """Bind the control socket and, if configured, TCP, before anything else is started."""
    with ExitStack() as stack:
        path = control_socket(snapshot.runtime_dir)
        sockets = [stack.enter_context(bind_unix(path))]
        stack.callback(path.unlink, missing_ok=True)
        http = snapshot.settings.http
        if http.listen is not None:
            listener = bind_tcp(http.listen, anywhere=http.behind_tls_proxy)
            sockets.append(stack.enter_context(listener))
            if not http.require_token:
                log.warning("http.open_to_every_user_of_this_machine", listen=http.listen)
        yield sockets
