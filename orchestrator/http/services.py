"""What the API needs of the daemon, as protocols, so that it depends on no supervisor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol
from uuid import UUID

from orchestrator.archive.export import Kind
from orchestrator.archive.manifest import Runs
from orchestrator.engine.control import Verb
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.api import (
    AuditPage,
    CreateTenant,
    DeadReport,
    DeletedTenant,
    ErasedTenant,
    EventView,
    ReloadReport,
    RenameTenant,
    RotatedCredentials,
    RunPage,
    RunView,
    ScheduleView,
    Started,
    StartRun,
    Status,
    TenantSummary,
    TenantView,
    TenantWhy,
    UpdateTenant,
)
from orchestrator.model.archives import ArchivedTenant, ImportedRows, RestoredTenant
from orchestrator.model.bearer import Bearer
from orchestrator.model.figures import FiguresOrder, InstallationFigures, TenantFigures
from orchestrator.model.ids import TenantId
from orchestrator.model.maintenance import MaintenanceReport
from orchestrator.model.migration import MigrateTenants, MigrationReport
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.progress import Report, unheard
from orchestrator.model.secrets import Credentials, RotatedKey, SecretView
from orchestrator.model.states import RunState
from orchestrator.model.tokens import CreateToken, Holder, TokenView
from orchestrator.model.usage import Span, TenantUsage, UsagePage
from orchestrator.store.control.audit import Deed
from orchestrator.store.tenant.runs import RunFilter


class Platform(Protocol):
    """The tenants and their runs."""

    def resolve(self, name: str) -> TenantId:
        """Return the tenant of that id or alias; InvalidTenantId or TenantNotFound else."""
        ...

    async def start_runs(self, tenant: TenantId, runs: list[StartRun]) -> list[Started]:
        """Accept all of the runs, or none; they are durable when this returns."""
        ...

    async def read_runs(self, tenant: TenantId, wanted: RunFilter, /) -> RunPage:
        """Return a page of runs, newest first."""
        ...

    async def read_run(self, tenant: TenantId, run: UUID, /) -> RunView:
        """Return everything about one run; RunNotFound when there is none."""
        ...

    async def send_signal(
        self, tenant: TenantId, run: UUID, name: str, payload: Any, *, key: str | None = None
    ) -> None:
        """Deliver a signal to a run; sent again with the same key, it is the same signal."""
        ...

    async def change_run(
        self, tenant: TenantId, run: UUID, verb: Verb, *, reason: str = ""
    ) -> RunState:
        """Cancel, pause, resume or retry a run; return its state."""
        ...

    async def repeat_run(self, tenant: TenantId, run: UUID, task: str | None) -> Started:
        """Start a run again with its input: as a whole, or from `task` on."""
        ...

    async def read_events(self, tenant: TenantId, run: UUID, after: int) -> list[EventView]:
        """Return a part of the run's events, those with the next numbers above `after`."""
        ...

    async def set_pause(
        self, tenant: TenantId, workflow: str | None, *, paused: bool, reason: str = ""
    ) -> None:
        """Let a workflow, or the whole tenant, start nothing for now, or again."""
        ...

    async def listed(self) -> list[TenantSummary]:
        """Return every tenant, by id, with the limits that it came near to."""
        ...

    async def read_tenant(self, tenant: TenantId) -> TenantView:
        """Return everything about one tenant."""
        ...

    async def why(self, tenant: TenantId) -> TenantWhy:
        """Return why a tenant runs or does not, and when it will."""
        ...

    async def create_tenant(self, request: CreateTenant, /) -> TenantView:
        """Register a tenant; TenantExists when its id or an alias is taken."""
        ...

    async def provision(self, tenant: TenantId) -> TenantView:
        """Make the tenant's schema and roles now instead of at first use."""
        ...


class DeadLetters(Protocol):
    """The runs of a tenant that failed for good; lists of ids may have a thousand."""

    async def read(self, tenant: TenantId, *, limit: int, cursor: UUID | None) -> RunPage:
        """Return a page of dead letters, newest first."""
        ...

    async def replay(self, tenant: TenantId, runs: list[UUID] | None) -> DeadReport:
        """Retry dead letters: these, or the oldest of all."""
        ...

    async def discard(self, tenant: TenantId, runs: list[UUID] | None) -> DeadReport:
        """Give dead letters up: these, or the oldest of all."""
        ...


class Schedules(Protocol):
    """The schedules of a tenant."""

    async def read(self, tenant: TenantId) -> list[ScheduleView]:
        """Return the tenant's schedules, by name."""
        ...

    async def pause(self, tenant: TenantId, name: str, *, paused: bool) -> ScheduleView:
        """Pause a schedule, or let it go on from now; ScheduleNotFound."""
        ...

    async def fire(self, tenant: TenantId, name: str) -> Started:
        """Start a run of a schedule now; ScheduleNotFound."""
        ...


class Audit(Protocol):
    """Who did what to which tenant."""

    async def asked(self, deed: Deed) -> int:
        """Note what is about to be done; return the number of the entry."""
        ...

    async def answered(self, number: int, outcome: str, detail: str) -> None:
        """Note what came of it."""
        ...

    async def read(self, tenant: TenantId, *, limit: int, cursor: int | None) -> AuditPage:
        """Return a page of entries, newest first."""
        ...


class Lifecycle(Protocol):
    """The verbs that change a whole tenant."""

    async def update(self, tenant: TenantId, request: UpdateTenant) -> None:
        """Change the declaration of a tenant that was registered at run time."""
        ...

    async def disable(self, tenant: TenantId, reason: str) -> None:
        """Let the tenant take no work until it is enabled."""
        ...

    async def enable(self, tenant: TenantId) -> None:
        """Let the tenant work again."""
        ...

    async def rotate_credentials(self, tenant: TenantId) -> RotatedCredentials:
        """Give the tenant's two logins new passwords; sessions go on."""
        ...

    async def rename(
        self, tenant: TenantId, wanted: RenameTenant, *, by: str, report: Report = unheard
    ) -> TenantId:
        """Give a tenant another id, and return it; `by` is for the audit."""
        ...

    async def delete(
        self,
        name: str,
        *,
        keep: bool,
        force: bool = False,
        wait: float = 0.0,
        report: Report = unheard,
    ) -> DeletedTenant:
        """Drop a tenant, by id or alias, with all its data."""
        ...

    async def erase(
        self, name: str, *, force: bool = False, wait: float = 0.0, report: Report = unheard
    ) -> ErasedTenant:
        """Drop a tenant, by id or alias, also if it is dropped already, and destroy its keys."""
        ...

    async def erase_former(self, tenant: TenantId) -> ErasedTenant:
        """Destroy the keys of all former tenants of an id, and touch nobody who has it now."""
        ...

    async def archive(
        self, tenant: TenantId, *, force: bool = False, wait: float = 0.0, report: Report = unheard
    ) -> ArchivedTenant:
        """Write a tenant into a file, and drop it."""
        ...


class Archives(Protocol):
    """The verbs that copy a whole tenant, out of the database and into it."""

    async def backup(self, tenant: TenantId, *, runs: Runs) -> BinaryIO:
        """Return a file with the archive of a tenant; whoever gets it closes it."""
        ...

    async def restore(  # noqa: PLR0913 - one parameter for each of the request's
        self,
        tenant: TenantId,
        spool: BinaryIO,
        *,
        of: str | None,
        runs: Runs | None,
        foreign: bool,
        to: str | None = None,
        report: Report,
    ) -> RestoredTenant:
        """Make a tenant that is not there of an archive, on shard `to` or where it is declared."""
        ...

    async def unarchive(
        self, tenant: TenantId, report: Report, *, to: str | None = None
    ) -> RestoredTenant:
        """Bring an archived tenant back."""
        ...

    async def clone(
        self,
        tenant: TenantId,
        into: TenantId,
        *,
        runs: Runs,
        to: str | None = None,
        report: Report,
    ) -> RestoredTenant:
        """Make another tenant like this one, beside it or on shard `to`."""
        ...

    async def export(self, tenant: TenantId, *, kind: Kind, unsealed: bool) -> BinaryIO:
        """Return a file with the export of a tenant; whoever gets it closes it."""
        ...

    async def add(self, tenant: TenantId, spool: BinaryIO, *, report: Report) -> ImportedRows:
        """Add the rows of an export to a tenant's tables."""
        ...

    async def spool(self) -> BinaryIO:
        """Return a new file without a name; StorageFailed."""
        ...

    async def keep(self, spool: BinaryIO, content: bytes) -> None:
        """Add what has come to such a file; StorageFailed."""
        ...


class Moves(Protocol):
    """Tenants that go from one database to another."""

    async def run(
        self, tenant: TenantId, wanted: MoveTenant, *, report: Report = unheard
    ) -> MovedTenant:
        """Move a tenant, confirm its move, or go back."""
        ...


class Statistics(Protocol):
    """Tenants in figures."""

    async def read(self, tenant: TenantId, *, exact: bool) -> TenantFigures:
        """Return a tenant in figures, within a bounded time; `exact` counts rows as well."""
        ...

    async def overview(self, *, order: FiguresOrder, limit: int | None) -> InstallationFigures:
        """Return all tenants as they were last read, the first `limit` by `order`."""
        ...


class Usages(Protocol):
    """What tenants have used."""

    async def page(
        self, since: datetime, until: datetime, span: Span, *, limit: int, cursor: str | None
    ) -> UsagePage:
        """Return what all tenants used, by tenant and time, also those that are gone."""
        ...

    async def of_tenant(
        self, name: str, since: datetime, until: datetime, span: Span
    ) -> TenantUsage:
        """Return what one tenant used; TenantNotFound if there never was one of that name."""
        ...


class Maintenance(Protocol):
    """The care for tenants' tables."""

    async def run(
        self,
        tenant: TenantId,
        *,
        after: str,
        statement_seconds: float,
        report: Report = unheard,
    ) -> MaintenanceReport:
        """Care for some of the tenant's tables, those `after` one, by name."""
        ...


class Secrets(Protocol):
    """The secrets of tenants."""

    async def put(self, tenant: TenantId, name: str, value: str) -> SecretView:
        """Store a secret, in place of the one of that name."""
        ...

    async def remove(self, tenant: TenantId, name: str) -> None:
        """Delete a secret; SecretNotFound."""
        ...

    async def listed(self, tenant: TenantId) -> list[SecretView]:
        """Return what may be told of the secrets, by name."""
        ...

    async def rotate(self, tenant: TenantId) -> RotatedKey:
        """Seal the secrets with a new key."""
        ...

    async def credentials(self, tenant: TenantId) -> Credentials:
        """Return the login of the tenant's tasks."""
        ...


class Notes(Protocol):
    """Where what is done to a tenant is noted, for the one who asked."""

    def of(
        self, tenant: str, operation: str, subject: object = ""
    ) -> AbstractAsyncContextManager[None]:
        """Note the operation that the block does, and its outcome."""
        ...


class Tokens(Protocol):
    """Who may use the API over TCP."""

    async def holder_of(self, bearer: Bearer) -> Holder | None:
        """Return whose a valid token is; None for any other."""
        ...

    async def is_live(self, holder: Holder) -> bool:
        """Return whether the token is still valid, and still that tenant's."""
        ...

    async def mint(
        self,
        bearer: Bearer,
        tenant: TenantId | None,
        wanted: CreateToken,
        *,
        by: str,
        maker: Holder | None,
    ) -> TokenView:
        """Keep a new token: of a tenant, or without one of the installation.

        It lasts no longer than that of `maker`, with which it is made.
        """
        ...

    async def listed(self, tenant: TenantId | None) -> list[TokenView]:
        """Return the tokens of a tenant, or those of the installation, newest first."""
        ...

    async def owner_of(self, id: str) -> TenantId | None:
        """Return the tenant whose a token is; None for the installation's, or for none."""
        ...

    async def revoke(self, id: str, tenant: TenantId | None) -> TokenView:
        """Make a token of a tenant, or of the installation, void at once; TokenNotFound."""
        ...


class Migrations(Protocol):
    """What brings the schemas of tenants up to date."""

    async def run(self, wanted: MigrateTenants, record: Notes, report: Report) -> MigrationReport:
        """Migrate tenants; `record` notes each of them."""
        ...


class Adoption(Protocol):
    """What makes tenants of schemas that exist."""

    async def run(self, tenant: TenantId, wanted: AdoptSchema) -> AdoptionReport:
        """Make the schema the tenant's; AdoptionRefused with what stands in the way."""
        ...


@dataclass(frozen=True)
class Services:
    """Everything the API is built from. `use` hears which archived tenant somebody wants to use."""

    platform: Platform
    dead: DeadLetters
    schedules: Schedules
    audit: Audit
    lifecycle: Lifecycle
    moves: Moves
    archives: Archives
    use: Callable[[TenantId], None]
    statistics: Statistics
    usage: Usages
    maintenance: Maintenance
    secrets: Secrets
    tokens: Tokens
    migrations: Migrations
    adoption: Adoption
    status: Callable[[], Awaitable[Status]]
    reload: Callable[[], Awaitable[ReloadReport]]
