"""An installation with two nodes and two shards, whose connections can be cut, and its API."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs

from orchestrator import Client
from orchestrator.daemon.adoption import TenantAdoption
from orchestrator.daemon.arrivals import Arrivals
from orchestrator.daemon.dead_letters import TenantDeadLetters
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.inactivity import Inactivity
from orchestrator.daemon.maintenance import TenantMaintenance
from orchestrator.daemon.migration import TenantMigrations
from orchestrator.daemon.moves import TenantMoves
from orchestrator.daemon.schedules import TenantSchedules
from orchestrator.daemon.secrets import TenantSecrets
from orchestrator.daemon.statistics import TenantStatistics
from orchestrator.daemon.tenants import watch
from orchestrator.daemon.tokens import CatchUp, TokenRegistry
from orchestrator.daemon.usage import Usages
from orchestrator.http.app import build_app
from orchestrator.http.services import Services
from orchestrator.model.errors import ConfigError
from orchestrator.settings.archive import ArchiveSection
from orchestrator.settings.duration import Duration
from orchestrator.settings.load import Snapshot
from orchestrator.settings.model import SupervisionSection, Tenant
from orchestrator.settings.shards import ShardConfig
from orchestrator.store.connect import Connection, Target
from orchestrator.store.shards import Shard
from orchestrator.workflow.registry import Registry
from supervisors.slot import SlotState
from tests.lifecycle.model import flows
from tests.supervisors.nodes import Node, in_good_standing, running_node, snapshot
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.test_why import platform_of
from tests.support.database import Database, Databases
from tests.support.proxy import CuttingProxy
from tests.support.server import reachable_directory
from tests.support.wait import until

DATABASES = "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)"
UNDER_WAY = """
SELECT EXISTS (SELECT FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND state <> 'idle' AND state_change < $1
  AND application_name ^@ 'insula')
"""
REGISTRY = Registry.of(flows.ALL)
BYSTANDER = "bystander"
_RESTS_SOON = SupervisionSection(idle_ttl=Duration(milliseconds=100))
NODES = ("a", "b")
SOON = {
    "supervisors.wake.POLL_SECONDS": 0.05,
    "supervisors.wake.ORPHAN_TURNS": 2,
    "orchestrator.daemon.holds.LOOK_SECONDS": 0.01,
    "orchestrator.daemon.tenants.LOOK_SECONDS": 0.02,
    "orchestrator.daemon.moves.SETTLE_SECONDS": 0.05,
    "orchestrator.daemon.arrivals.LOOK_SECONDS": 0.05,
}
"""What a node looks at again after a while is looked at soon."""


@dataclass
class Verbs:
    """The parts of one node that do verbs, as the daemon wires them."""

    node: Node
    state_dir: Path

    def __post_init__(self) -> None:
        node = self.node
        self.errands = Errands(node.tenants.shards)
        self.lifecycle = lifecycle(node, self.state_dir)
        self.archives = self.lifecycle.archives
        self.moves = TenantMoves(self.lifecycle, self.archives, node.holds, self.errands)
        self.arrivals = Arrivals(node.tenants, self.errands)

    async def resume(self) -> None:
        """Do what a daemon does after its start, and what a dead node's peers do soon."""
        await self.node.tenants.refresh()
        await self.lifecycle.resume()
        await self.node.holds.sweep()
        await self.moves.resume()
        await self.arrivals.resume()
        await self.archives.resume()

    async def tidy(self) -> None:
        """Do what is due after an outage: at the next look for holds, and at the next start."""
        await self.node.holds.sweep()
        await self.arrivals.resume()
        await self.archives.resume()

    def services(self) -> Services:
        """Return what the API asks."""
        node, shards = self.node, self.node.tenants.shards
        platform = replace(platform_of(node), registry=REGISTRY)
        inactivity = Inactivity(
            node.control, self.lifecycle, self.archives, node.audit, ArchiveSection
        )
        return Services(
            platform=platform,
            dead=TenantDeadLetters(node.root, shards),
            schedules=TenantSchedules(node.root, shards),
            audit=node.audit,
            lifecycle=self.lifecycle,
            archives=self.archives,
            moves=self.moves,
            use=inactivity.use,
            statistics=TenantStatistics(
                node.tenants, self.errands, platform.tenants, node.ground.standing
            ),
            usage=Usages(node.root, shards, node.ground.standing),
            maintenance=TenantMaintenance(self.errands),
            secrets=TenantSecrets(shards, node.tenants),
            tokens=TokenRegistry(node.control, in_good_standing(), CatchUp(node.tenants)),
            migrations=TenantMigrations(node.root, node.tenants),
            adoption=TenantAdoption(node.tenants, self.errands),
            status=_nothing,
            reload=_nothing,
        )


@dataclass
class Server:
    """One node over connections of its own: it can lose all of them, and it can die."""

    name: str
    stage: Stage
    node: Node = field(init=False)
    verbs: Verbs = field(init=False)
    client: Client = field(init=False)
    proxy: CuttingProxy = field(init=False)
    shaken: bool = False
    """Whether it has lost its connections, and may not have noticed."""

    async def start(self) -> None:
        """Return when it serves."""
        self.shaken = False
        self._ready, self._over = asyncio.Event(), asyncio.Event()
        self._life = asyncio.create_task(self._live())
        done, _ = await asyncio.wait(
            [self._life, asyncio.create_task(self._ready.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._life in done:
            self._life.result()

    async def stop(self) -> None:
        """End it in good order."""
        self._over.set()
        await self._life

    async def die(self) -> None:
        """End it as a kill does: nothing that it wants to say still reaches the database."""
        self.proxy.go_away()
        self._life.cancel()
        with suppress(asyncio.CancelledError):
            await self._life
        await self.stage.quiet()
        await self.stage.admin.execute(
            "UPDATE insula.node SET expires_at = now() WHERE id = $1", self.node.id
        )

    async def recover(self) -> None:
        """Have its connections back, when what it sent by them has ended."""
        await self.stage.quiet()
        self.proxy.come_back()
        self.shaken = True
        for shard in self.node.tenants.shards.others.values():
            await until(partial(_answers, shard), what="its shard is back")

    def of_shards(self, declared: Snapshot) -> Snapshot:
        """Return the configuration as this node has it, whose shards are behind its proxy."""
        return structs.replace(declared, shards=self.node.tenants.snapshot.shards)

    async def _live(self) -> None:
        stage = self.stage
        self.proxy = CuttingProxy(stage.database.target)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.proxy.running())
            hosts = self.proxy.target
            shards = [
                structs.replace(each, url=hosts.with_database(Target.parse(each.url).database).url)
                for each in stage.shards
            ]
            behind = Database(hosts, stage.database.role_prefix, stage.database.installation)
            behind.key = stage.database.key
            stack.push_async_callback(behind.close)
            running = running_node(
                behind, stage.declared(), name=self.name, shards=shards, registry=REGISTRY
            )
            self.node = await stack.enter_async_context(running)
            self.node.group.start_soon(watch, self.node.tenants, in_good_standing())
            self.verbs = Verbs(self.node, stage.state_dir)
            self.client = _client(self.verbs.services())
            await stack.enter_async_context(self.client)
            self._ready.set()
            await self._over.wait()


class Stage:
    """What all examples are played on, one after the other."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self.in_files: set[str] = set()
        self.servers: list[Server] = []

    async def open(self) -> None:
        """Make two databases and start two nodes; a bystander has done a run."""
        self._stack = stack = AsyncExitStack()
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in SOON.items():
            patched.setattr(name, value)
        self.state_dir = stack.enter_context(reachable_directory())
        self.database = await stack.enter_async_context(self._databases.lend())
        self.directory = self.state_dir.with_name(self.state_dir.name + "-archives")
        self.directory.mkdir()
        stack.callback(shutil.rmtree, self.directory)
        eu = await stack.enter_async_context(self._databases.lend_empty())
        us = await stack.enter_async_context(self._databases.lend_empty())
        self.shards = (
            ShardConfig(name="eu", url=eu.url, isolation="role"),
            ShardConfig(name="us", url=us.url, isolation="database"),
        )
        self.admin = await self.database.connect()
        self.eu = await self.database.connect(eu)
        for name in NODES:
            self.servers.append(Server(name, self))
            await self.servers[-1].start()
        bystander = self.servers[0].client.tenant(BYSTANDER)
        await (await bystander.start("tell", {"label": "mine"})).result(timeout=10)
        await bystander.secret.set("token", "mine")
        await self.servers[0].node.reach(BYSTANDER, SlotState.DORMANT)

    async def close(self) -> None:
        """Stop all, and drop the databases."""
        for server in self.servers:
            await server.stop()
        await self.database.close()
        admin = await self.database.connect()
        for (name,) in await admin.fetch(DATABASES, self.own_database("")):
            await admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await self._stack.aclose()

    def forget_archives(self) -> None:
        """Delete the archives of tenants that were deleted and not erased."""
        for path in self.state_dir.glob("archives/*"):
            path.unlink()

    async def reload(self, in_files: set[str]) -> None:
        """Have both nodes read files that declare these tenants, and the bystander."""
        before, self.in_files = self.in_files, in_files
        try:
            for server in self.servers:
                await server.node.tenants.publish(server.of_shards(self.declared()))
        except ConfigError:
            self.in_files = before
            raise
        # One that was never used lives where its file says, and leaves a database of its own.
        await self.servers[0].verbs.tidy()

    async def look(self) -> None:
        """Have all nodes know what is in the registry, as they do after a moment."""
        for server in self.servers:
            await server.node.tenants.refresh()

    async def quiet(self) -> None:
        """Wait until the server has ended what it was asked until now."""
        since = await self.admin.fetchval("SELECT clock_timestamp()")

        async def none_left() -> bool:
            left: bool = await self.admin.fetchval(UNDER_WAY, since)
            return not left

        await until(none_left, what="statements end")

    def declared(self) -> Snapshot:
        """Return the configuration: tenants that come to rest at once."""
        declarations = {each: Tenant() for each in (BYSTANDER, *self.in_files)}
        return snapshot([], declarations=declarations, shards=self.shards, supervision=_RESTS_SOON)

    async def place(self, shard: str, tenant: str) -> Connection | None:
        """Return an admin's connection to where a tenant's tables are, or would be."""
        if shard != "us":
            return self.admin if shard == "control" else self.eu
        own = self.database.target.with_database(self.own_database(tenant))
        there = await self.admin.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", own.database
        )
        return await self.database.connect(own) if there else None

    def own_database(self, tenant: str) -> str:
        """Return what the database of a tenant on shard `us` is called."""
        return f"{self.database.role_prefix}_t_{tenant}"


def _client(services: Services) -> Client:
    client = Client("http://localhost", retries=0)
    app: Any = build_app(services)
    transport = httpx.ASGITransport(app, client=("uid 0", 1))
    client._http = httpx.AsyncClient(  # noqa: SLF001 - the API without a socket
        transport=transport, base_url="http://localhost"
    )
    return client


def _answers(shard: Shard) -> bool:
    return shard.reach.outage is None


async def _nothing() -> Any:
    raise NotImplementedError
