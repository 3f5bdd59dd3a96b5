"""`insula doctor`: examines an installation, whether or not a daemon serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio

from orchestrator.lifecycle.doctor.examine import SETTINGS, Examination, examine
from orchestrator.model.errors import DatabaseUnavailable, StateDirectoryInUse
from orchestrator.model.findings import Diagnosis
from orchestrator.model.progress import Report
from orchestrator.settings.load import Snapshot
from orchestrator.store.connect import ControlPool, Target, connect, translated
from orchestrator.store.embedded import EmbeddedPostgres, StateLock, Tuning
from orchestrator.store.migrate import read_migrations
from orchestrator.store.shards import Shards

NAME = "insula doctor"


def diagnose(snapshot: Snapshot, tenants: Sequence[str], report: Report) -> Diagnosis:
    """Examine the installation and return what was found.

    Raises ConfigError, TenantNotFound, DatabaseUnavailable or DatabaseRefused.
    """
    return anyio.run(_diagnose, snapshot, tenants, report)


async def _diagnose(snapshot: Snapshot, tenants: Sequence[str], report: Report) -> Diagnosis:
    path = snapshot.migrations_path
    prefix = snapshot.settings.database.role_prefix
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(_database(snapshot))
        examination = Examination(
            role_prefix=prefix,
            app_migrations=read_migrations(path) if path else (),
            max_awake=snapshot.settings.node.max_awake_tenants,
            state_dir=snapshot.state_dir,
            database=target.redacted,
            tenants=tuple(tenants),
            aliases=dict(snapshot.aliases),
            door=None if snapshot.database_url is None else target,
        )
        connection = await connect(target, application_name=NAME, settings=SETTINGS)
        stack.callback(connection.terminate)
        timeout = snapshot.settings.database.connect_timeout.total_seconds()
        control = await stack.enter_async_context(
            ControlPool.open(target, application_name=NAME, timeout=timeout, at_once=False)
        )
        shards = await stack.enter_async_context(
            Shards.open(
                control,
                snapshot.shards.values(),
                role_prefix=prefix,
                application_name=NAME,
                timeout=timeout,
            )
        )
        with translated("the installation can not be examined"):
            return await examine(connection, examination, report, shards=shards)


@asynccontextmanager
async def _database(snapshot: Snapshot) -> AsyncIterator[Target]:
    """Yield the configured server, or our own: the one that a daemon runs, else it is started."""
    if snapshot.database_url is not None:
        yield Target.parse(snapshot.database_url)
        return
    server = EmbeddedPostgres(
        snapshot.state_dir,
        tuning=Tuning.for_tenants(snapshot.settings.node.max_awake_tenants),
    )
    if not server.made:
        raise DatabaseUnavailable(
            f"there is no database in {snapshot.state_dir} yet", hint="insula serve makes it"
        )
    async with AsyncExitStack() as stack:
        try:
            stack.enter_context(StateLock(snapshot.state_dir))
        except StateDirectoryInUse:
            yield Target.parse(server.found)
        else:
            await stack.enter_async_context(server)
            yield Target.parse(server.url)
