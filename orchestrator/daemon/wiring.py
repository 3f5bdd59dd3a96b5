"""The composition root: builds the parts of a daemon and hands each what it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

import anyio
import structlog

from orchestrator.cache.store import Stores
from orchestrator.daemon.sd_notify import CLOSING_SECONDS, Notifier
from orchestrator.daemon.shards import ShardKeeper
from orchestrator.daemon.tenants import Tenants
from orchestrator.engine.processes.pool import ProcessPool
from orchestrator.engine.slots import NodeSlots
from orchestrator.lifecycle.admission import admit
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.provision import ProvisionSpec
from orchestrator.model.clock import Clock
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.settings.load import Snapshot
from orchestrator.store.connect import ControlPool, Target, connect
from orchestrator.store.control.keys import Keyring
from orchestrator.store.control.tenants import installation_id
from orchestrator.store.embedded import START_SECONDS, EmbeddedPostgres, Tuning
from orchestrator.store.migrate import migrate_control, read_migrations
from orchestrator.store.shards import Shards
from orchestrator.store.tenant.places import Places
from orchestrator.workflow.registry import Registry
from supervisors.ground import Ground
from supervisors.keeper import Node, NodeKeeper
from supervisors.root import RootSupervisor

WAIT_SECONDS = 0.5
"""Between two attempts to reach a database that is not there when the daemon starts."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a running daemon is made of."""

    node: UUID
    target: Target
    server_version: str
    shards: Shards
    shard_keepers: Sequence[ShardKeeper]
    registry: Registry
    tenants: Tenants
    root: RootSupervisor
    ground: Ground
    keeper: NodeKeeper
    embedded: EmbeddedPostgres | None


@asynccontextmanager
async def build(
    snapshot: Snapshot, registry: Registry, clock: Clock, notifier: Notifier
) -> AsyncIterator[Parts]:
    """Bring up the database, the node's row and the supervisors' ground; take them down in reverse.

    Raises StartError, DatabaseUnavailable, DatabaseRefused, MigrationFailed or ConfigError.
    """
    settings = snapshot.settings
    key = InstallationKey.load_or_create(snapshot.state_dir)
    app_migrations = read_migrations(snapshot.migrations_path) if snapshot.migrations_path else ()
    async with AsyncExitStack() as stack:
        target, embedded = await stack.enter_async_context(_database(snapshot, notifier))
        timeout = settings.database.connect_timeout.total_seconds()
        installation, version = await _reach(target, timeout, notifier)
        spec = ProvisionSpec(
            role_prefix=settings.database.role_prefix,
            installation=installation,
            key=key,
            app_migrations=app_migrations,
        )
        node = uuid4()
        keeper = await stack.enter_async_context(_alive(snapshot, node, target))
        shards = await stack.enter_async_context(_shards(snapshot, target))
        async with shards.control.acquire() as connection:
            await admit(connection, key, node=settings.node.name)
        slots = NodeSlots(settings.node.max_concurrent_tasks)
        tenants = Tenants(shards, spec, snapshot)
        ground = Ground(
            node=node,
            name=settings.node.name,
            standing=keeper.standing,
            shards=shards,
            prepare=tenants.prepare,
            registry=registry,
            slots=slots,
            clock=clock,
            connect_timeout=timeout,
            app_places=Places(settings.node.max_awake_tenants),
            processes=await stack.enter_async_context(_processes(snapshot)),
            keys=Keyring(shards.control, key),
            alert_percent=settings.alerts.percent,
            caches=await stack.enter_async_context(_caches(snapshot, installation)),
        )
        root = RootSupervisor(
            ground, settings.supervision, max_awake=settings.node.max_awake_tenants
        )
        tenants.root = root
        await tenants.publish(snapshot)
        keepers = [ShardKeeper(each, shards, installation) for each in shards.others.values()]
        databases = (target, version, shards, keepers)
        yield Parts(node, *databases, registry, tenants, root, ground, keeper, embedded)


@asynccontextmanager
async def _shards(snapshot: Snapshot, target: Target) -> AsyncIterator[Shards]:
    """Open the connections under the admin login, to the control database and the shards."""
    name = f"insula {snapshot.settings.node.name}"
    timeout = snapshot.settings.database.connect_timeout.total_seconds()
    async with (
        ControlPool.open(target, application_name=name, timeout=timeout) as control,
        Shards.open(
            control,
            snapshot.shards.values(),
            role_prefix=snapshot.settings.database.role_prefix,
            application_name=name,
            timeout=timeout,
        ) as shards,
    ):
        yield shards


@asynccontextmanager
async def _caches(snapshot: Snapshot, installation: UUID) -> AsyncIterator[Stores | None]:
    """Yield the server that keeps the caches of tenants; None when their schemas do."""
    if snapshot.cache_url is None:
        yield None
        return
    from orchestrator.cache.redis import RedisServer  # noqa: PLC0415 - its library is an extra

    async with RedisServer(snapshot.cache_url, str(installation)) as server:
        yield server


def _processes(snapshot: Snapshot) -> ProcessPool:
    """Return the node's worker processes; none starts before a task needs it."""
    settings = snapshot.settings
    return ProcessPool(
        size=settings.node.max_worker_processes,
        memory_bytes=settings.node.worker_memory,
        log=settings.log,
        withheld=snapshot.secret_variables,
    )


@asynccontextmanager
async def _database(
    snapshot: Snapshot, notifier: Notifier
) -> AsyncIterator[tuple[Target, EmbeddedPostgres | None]]:
    """Yield the configured server, or our own for as long as the body runs."""
    if snapshot.database_url is not None:
        yield Target.parse(snapshot.database_url), None
        return
    awake = snapshot.settings.node.max_awake_tenants
    notifier.extend("starting PostgreSQL", within=START_SECONDS + CLOSING_SECONDS)
    async with EmbeddedPostgres(snapshot.state_dir, tuning=Tuning.for_tenants(awake)) as server:
        log.info("postgresql.started", state_dir=str(snapshot.state_dir), pid=server.pid)
        yield Target.parse(server.url), server


async def _reach(target: Target, seconds: float, notifier: Notifier) -> tuple[UUID, str]:
    """Prepare the database. Where systemd listens, one that is not there is waited for.

    It shows a start that takes its time and why, and what depends on the service waits with it;
    anyone else is told at once.
    """
    status, seen = f"connecting to {target.redacted}", ""
    while True:
        notifier.extend(status, within=seconds + WAIT_SECONDS + CLOSING_SECONDS)
        try:
            return await _prepare(target, seconds)
        except DatabaseUnavailable as error:
            if not notifier.listened:
                raise
            status = f"waiting for the database: {error}"
        if status != seen:
            log.warning("database.awaited", error=status)
            seen = status
        await anyio.sleep(WAIT_SECONDS)


async def _prepare(target: Target, seconds: float) -> tuple[UUID, str]:
    """Bring the control schema up to date; return the installation's id and server's version."""
    connection = await connect(target, application_name="insula setup", timeout=seconds)
    try:
        await migrate_control(connection)
        version = await connection.fetchval("SHOW server_version")
        return await installation_id(connection), str(version)
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close(timeout=seconds)


@asynccontextmanager
async def _alive(snapshot: Snapshot, node: UUID, target: Target) -> AsyncIterator[NodeKeeper]:
    """Keep the node's row while the body runs."""
    supervision = snapshot.settings.supervision
    keeper = NodeKeeper(
        Node(
            id=node,
            name=snapshot.settings.node.name,
            expiry=supervision.node_expiry.total_seconds(),
            renewal=supervision.node_renewal.total_seconds(),
        ),
        target,
    )
    await keeper.start()
    try:
        yield keeper
    finally:
        with anyio.CancelScope(shield=True):
            await keeper.stop()
