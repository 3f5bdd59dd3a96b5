"""Builds what the API asks for on the parts of a daemon, and starts what goes on beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from orchestrator.daemon.activity import Activity
from orchestrator.daemon.adoption import TenantAdoption
from orchestrator.daemon.archives import TenantArchives
from orchestrator.daemon.arrivals import Arrivals
from orchestrator.daemon.audit import TenantAudit
from orchestrator.daemon.cache_remains import CacheRemains
from orchestrator.daemon.dead_letters import TenantDeadLetters
from orchestrator.daemon.errands import Errands
from orchestrator.daemon.figures import FiguresReader
from orchestrator.daemon.holds import Holds
from orchestrator.daemon.inactivity import Inactivity
from orchestrator.daemon.lifecycle import TenantLifecycle
from orchestrator.daemon.maintenance import TenantMaintenance
from orchestrator.daemon.migration import TenantMigrations
from orchestrator.daemon.moves import TenantMoves
from orchestrator.daemon.platform import TenantPlatform
from orchestrator.daemon.schedules import TenantSchedules
from orchestrator.daemon.secrets import TenantSecrets
from orchestrator.daemon.statistics import TenantStatistics
from orchestrator.daemon.tenants import watch
from orchestrator.daemon.tokens import CatchUp, TokenRegistry
from orchestrator.daemon.usage import Usages
from orchestrator.daemon.wiping import KeyWiping
from orchestrator.daemon.wiring import Parts
from orchestrator.http.services import Services
from orchestrator.model.api import ReloadReport, Status
from orchestrator.settings.load import Snapshot
from orchestrator.settings.model import Settings
from supervisors.drain import LET_GO_SECONDS


class DaemonServices:
    """What is done to tenants and told of them, each part built on those before it."""

    def __init__(self, parts: Parts, snapshot: Snapshot) -> None:
        settings, shards = snapshot.settings, parts.shards
        drain_seconds = settings.supervision.drain_timeout.total_seconds()
        self._parts = parts
        self._standing = parts.keeper.standing
        self._audit = TenantAudit(shards.control, settings.node.name, self._standing)
        self._platform = _platform(parts, settings)
        self._holds = Holds(
            parts.root,
            shards.control,
            parts.tenants,
            self._audit,
            parts.node,
            patience=drain_seconds + LET_GO_SECONDS,
        )
        self._archives = TenantArchives(
            shards.control, parts.tenants, Errands(shards), snapshot.state_dir
        )
        self._wiping = KeyWiping(Errands(shards))
        self._lifecycle = TenantLifecycle(
            root=parts.root,
            control=shards.control,
            tenants=parts.tenants,
            audit=self._audit,
            errands=Errands(shards),
            state_dir=snapshot.state_dir,
            holds=self._holds,
            archives=self._archives,
            wiping=self._wiping,
        )
        self._inactivity = Inactivity(
            shards.control,
            self._lifecycle,
            self._archives,
            self._audit,
            lambda: parts.tenants.snapshot.settings.archive,
        )
        self._moves = TenantMoves(self._lifecycle, self._archives, self._holds, Errands(shards))
        self._statistics = TenantStatistics(
            parts.tenants, Errands(shards), self._platform.tenants, self._standing
        )
        self._usages = Usages(parts.root, shards, self._standing)

    def for_api(
        self,
        *,
        status: Callable[[], Awaitable[Status]],
        reload: Callable[[], Awaitable[ReloadReport]],
    ) -> Services:
        """Return all that the API is built from."""
        parts, shards = self._parts, self._parts.shards
        return Services(
            platform=self._platform,
            dead=TenantDeadLetters(parts.root, shards),
            schedules=TenantSchedules(parts.root, shards),
            audit=self._audit,
            lifecycle=self._lifecycle,
            archives=self._archives,
            moves=self._moves,
            use=self._inactivity.use,
            statistics=self._statistics,
            usage=self._usages,
            maintenance=TenantMaintenance(Errands(shards)),
            secrets=TenantSecrets(
                shards, parts.tenants, caches_apart=parts.ground.caches is not None
            ),
            tokens=TokenRegistry(shards.control, self._standing, CatchUp(parts.tenants)),
            migrations=TenantMigrations(parts.root, parts.tenants),
            adoption=TenantAdoption(parts.tenants, Errands(shards)),
            status=status,
            reload=reload,
        )

    def start(self, group: TaskGroup) -> None:
        """Have `group` finish what a node began that died, and see to what comes up by itself."""
        tenants, control = self._parts.tenants, self._parts.shards.control
        group.start_soon(self._lifecycle.resume)
        group.start_soon(self._wiping.run)
        group.start_soon(self._moves.resume)
        group.start_soon(Arrivals(tenants, Errands(self._parts.shards)).resume)
        group.start_soon(self._archives.resume)
        group.start_soon(watch, tenants, self._standing)
        group.start_soon(Activity(self._parts.root, control).watch, self._standing)
        group.start_soon(self._holds.watch, self._standing)
        group.start_soon(self._inactivity.run, self._standing)
        if (stores := self._parts.ground.caches) is not None:
            group.start_soon(CacheRemains(control, stores, self._audit).run, self._standing)
        group.start_soon(FiguresReader(self._statistics, control).watch, self._standing)
        group.start_soon(self._usages.condense)


def _platform(parts: Parts, settings: Settings) -> TenantPlatform:
    return TenantPlatform(
        root=parts.root,
        shards=parts.shards,
        registry=parts.registry,
        node=settings.node.name,
        role_prefix=settings.database.role_prefix,
        standing=parts.keeper.standing,
        remembered=parts.tenants.remembered,
        absent=lambda: parts.tenants.absent,
        register=parts.tenants.register,
        prepare=parts.tenants.prepare,
        ground=parts.ground,
    )
