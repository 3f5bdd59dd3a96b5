"""Loads the configuration, builds the parts, serves until told to stop, and drains."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import anyio
import structlog

from orchestrator.daemon import signals
from orchestrator.daemon.dead_letters import TenantDeadLetters
from orchestrator.daemon.loop_watch import LoopWatch
from orchestrator.daemon.platform import TenantPlatform
from orchestrator.daemon.reload import Reloader
from orchestrator.daemon.schedules import TenantSchedules
from orchestrator.daemon.sd_notify import Notifier
from orchestrator.daemon.wiring import Parts, build
from orchestrator.http.app import build_app
from orchestrator.http.serve import bind_tcp, bind_unix
from orchestrator.http.serve import serve as serve_http
from orchestrator.http.services import Services
from orchestrator.model.api import Status
from orchestrator.model.clock import SystemClock
from orchestrator.observability.logging import set_up
from orchestrator.settings.directories import control_socket
from orchestrator.settings.load import Snapshot, load
from orchestrator.store.embedded import StateLock
from orchestrator.workflow import registry as workflows
from orchestrator.workflow.registry import Registry
from orchestrator.workflow.scheduled import unfit

log = structlog.get_logger(__name__)


def serve(config: Path | None) -> int:
    """Run the daemon until SIGTERM or SIGINT; return the exit code.

    Raises ConfigError, DefinitionError, StartError, DatabaseUnavailable or DatabaseRefused when it
    can not start.
    """
    snapshot = load(config, os.environ)
    set_up(snapshot.settings.log.level, snapshot.settings.log.format)
    registry = workflows.load(snapshot.settings.workflows.modules)
    warn_of_schedules(snapshot, registry)
    with StateLock(snapshot.state_dir), _sockets(snapshot) as sockets:
        daemon = Daemon(snapshot, registry, sockets, config)
        anyio.run(daemon.run, backend_options={"use_uvloop": True})
    return 0


def warn_of_schedules(snapshot: Snapshot, registry: Registry) -> None:
    """Log the schedules whose runs will be refused; another node may serve their workflows."""
    for problem in unfit(snapshot.scheduled, registry):
        log.warning("config.schedule_unfit", problem=problem)


class Daemon:
    """One process: the life between the first configuration and the last log line."""

    def __init__(
        self,
        snapshot: Snapshot,
        registry: Registry,
        sockets: list[socket.socket],
        config: Path | None,
    ) -> None:
        self._snapshot = snapshot
        self._registry = registry
        self._sockets = sockets
        self._config = config
        self._clock = SystemClock()
        self._notifier = Notifier()
        self._watch = LoopWatch(self._clock, self._notifier)
        self._started_at = datetime.now(UTC)
        self._drain_wanted = anyio.Event()
        self._draining = False
        self._parts: Parts
        self._reloader: Reloader

    async def run(self) -> None:
        """Serve until a signal says stop; whatever ends a loop of ours unasked ends the process."""
        async with build(self._snapshot, self._registry, self._clock) as parts:
            self._parts = parts
            self._reloader = Reloader(
                self._snapshot, self._read, parts.tenants.publish, self._notifier
            )
            async with anyio.create_task_group() as group:
                await group.start(self._listen_to_signals, group.cancel_scope)
                group.start_soon(self._watch.run)
                await group.start(parts.root.run)
                await group.start(serve_http, build_app(self._services()), self._sockets)
                group.start_soon(self._reloader.run)
                self._say_ready()
                await self._drain_wanted.wait()
                await self._drain()
                group.cancel_scope.cancel()
        log.info("daemon.stopped")

    async def _listen_to_signals(
        self,
        scope: anyio.CancelScope,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        await signals.obey(
            reload=self._reloader.ask,
            drain=self._drain_wanted.set,
            stop=scope.cancel,
            dump=self._dump,
            task_status=task_status,
        )

    async def _drain(self) -> None:
        self._draining = True
        self._notifier.stopping("draining")
        log.info("daemon.draining")
        await self._parts.root.drain()

    def _say_ready(self) -> None:
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
        warn_of_schedules(snapshot, self._registry)
        return snapshot

    def _dump(self) -> None:
        """Write what each tenant and each task of this process is doing."""
        for tenant, slot in sorted(self._parts.root.slots.items()):
            running = slot.engine.running_tasks if slot.engine else 0
            log.info("dump.slot", tenant=tenant, state=str(slot.state), running_tasks=running)
        for task in anyio.get_running_tasks():
            log.info("dump.task", name=task.name)

    def _services(self) -> Services:
        parts = self._parts
        platform = TenantPlatform(
            root=parts.root,
            control=parts.control,
            registry=parts.registry,
            role_prefix=self._snapshot.settings.database.role_prefix,
            register=parts.tenants.register,
            prepare=parts.tenants.prepare,
        )
        return Services(
            root=platform,
            dead=TenantDeadLetters(parts.root, parts.control),
            schedules=TenantSchedules(parts.root, parts.control),
            status=self._status,
            reload=self._reloader.reload,
        )

    async def _status(self) -> Status:
        parts, settings = self._parts, self._snapshot.settings
        states: dict[str, int] = {}
        for slot in parts.root.slots.values():
            states[str(slot.state)] = states.get(str(slot.state), 0) + 1
        return Status(
            node=settings.node.name,
            incarnation=parts.node,
            version=version("insula"),
            pid=os.getpid(),
            started_at=self._started_at,
            generation=self._reloader.generation,
            config_digest=self._reloader.snapshot.digest,
            draining=self._draining,
            tenants=len(parts.root.slots),
            slots=states,
            running_tasks=parts.slots.used,
            max_concurrent_tasks=parts.slots.total,
            max_awake_tenants=settings.node.max_awake_tenants,
            database=parts.target.redacted,
            database_version=parts.server_version,
            loop_lag_ms=self._watch.lag_ms,
            last_reload=self._reloader.last,
        )


@contextmanager
def _sockets(snapshot: Snapshot) -> Iterator[list[socket.socket]]:
    """Bind the control socket and, if configured, TCP, before anything else is started."""
    with ExitStack() as stack:
        path = control_socket(snapshot.runtime_dir)
        sockets = [stack.enter_context(bind_unix(path))]
        listen = snapshot.settings.http.listen
        if listen is not None:
            sockets.append(stack.enter_context(bind_tcp(listen)))
        yield sockets
