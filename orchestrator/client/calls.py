"""Every request of the API, by the name of what it asks for: what both clients send."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from orchestrator.archive.export import Kind
from orchestrator.archive.manifest import Runs as Selection
from orchestrator.client.call import Call, Upload, header_value, tenant_path
from orchestrator.model.adoption import AdoptionReport, AdoptSchema
from orchestrator.model.api import (
    AuditPage,
    ChangedRun,
    ChangeRun,
    CreateTenant,
    DeadReport,
    DeletedTenant,
    DisableTenant,
    ErasedTenant,
    EventView,
    PauseView,
    ReloadReport,
    RenameTenant,
    RepeatRun,
    RotatedCredentials,
    RunPage,
    RunView,
    ScheduleList,
    ScheduleView,
    SetPause,
    Started,
    StartRun,
    StartRuns,
    Status,
    TenantList,
    TenantView,
    TenantWhy,
    UpdateTenant,
)
from orchestrator.model.archives import ArchivedTenant, ImportedRows, RestoredTenant
from orchestrator.model.bearer import ID_PATTERN
from orchestrator.model.errors import DeadlineExceeded, InvalidRequest
from orchestrator.model.figures import FiguresOrder, InstallationFigures, TenantFigures
from orchestrator.model.maintenance import MaintenanceReport
from orchestrator.model.migration import MigrateTenants, MigrationReport
from orchestrator.model.moves import MovedTenant, MoveTenant
from orchestrator.model.secrets import (
    Credentials,
    DeletedSecret,
    PutSecret,
    RotatedKey,
    SecretList,
    SecretView,
)
from orchestrator.model.states import RunState
from orchestrator.model.tokens import CreateAdminToken, MintedToken, Role, TokenList, TokenView
from orchestrator.model.usage import TenantUsage, UsagePage

FOLLOW_PATIENCE = 60.0
"""Seconds in which a daemon that went away while its events were followed may come back."""

DELETE_SECONDS = 600.0
"""How long the server may take to drop a tenant, and to write its results into a file."""

COPY_SECONDS = 6 * 3600.0
"""How long the server may take to copy a whole tenant, between two signs of life."""

RENAME_SECONDS = 120.0
"""How long a tenant may take to come to rest before it is renamed."""

MIGRATE_SECONDS = 6 * 3600.0
"""How long the server may take for all tenants."""

STATUS_SECONDS = 5.0
"""How soon a daemon that turns at all tells how it is: it asks nobody for that."""

STATS_SECONDS = 30.0
COUNT_SECONDS = 600.0
"""How long the server may read figures, and count rows; others may be before us."""

LONGEST_POLL = 30.0
"""Seconds of one long poll; the server allows twice that, proxies often not much more."""


@dataclass(frozen=True)
class Runs:
    """Which runs to list."""

    state: RunState | str | None = None
    workflow: str | None = None
    since: datetime | None = None
    limit: int = 50
    cursor: str | None = None


def new_run(workflow: str, input: Mapping[str, Any] | None, **options: Any) -> StartRun:
    """Return the body of a start from what a caller said; what does not fit stays as it is."""
    given: Any = input
    if not isinstance(options["tags"], str):
        options["tags"] = [*options["tags"]]
    given = {**given} if isinstance(given, Mapping) else given or {}
    return StartRun(workflow=workflow, input=given, **options)


def status() -> Call[Status]:
    """Ask for the node at a glance."""
    return Call("GET", "/v1/status", Status, repeatable=True, within=STATUS_SECONDS)


def reload() -> Call[ReloadReport]:
    """Ask the daemon to read its configuration again, and wait for what that did."""
    return Call("POST", "/v1/reload", ReloadReport, repeatable=True)


def reload_unattended() -> Call[dict[str, str]]:
    """Ask the daemon to read its configuration again, without waiting."""
    query = {"wait": "false"}
    return Call("POST", "/v1/reload", dict[str, str], query=query, repeatable=True)


def tenants() -> Call[TenantList]:
    """Ask for all tenants."""
    return Call("GET", "/v1/tenants", TenantList, repeatable=True)


def create_tenant(request: CreateTenant) -> Call[TenantView]:
    """Register a tenant."""
    return Call("POST", "/v1/tenants", TenantView, body=request)


def show_tenant(tenant: str) -> Call[TenantView]:
    """Ask for everything about one tenant."""
    return Call("GET", tenant_path(tenant), TenantView, repeatable=True)


def why_tenant(tenant: str) -> Call[TenantWhy]:
    """Ask why a tenant runs or does not."""
    return Call("GET", tenant_path(tenant, "why"), TenantWhy, repeatable=True)


def tenant_stats(tenant: str, *, exact: bool) -> Call[TenantFigures]:
    """Ask for a tenant in figures."""
    query = {"exact": str(exact).lower()}
    path, wait = tenant_path(tenant, "stats"), COUNT_SECONDS if exact else STATS_SECONDS
    return Call("GET", path, TenantFigures, query=query, repeatable=True, wait=wait)


def stats(sort: FiguresOrder | str, limit: int | None) -> Call[InstallationFigures]:
    """Ask for all tenants in figures."""
    query = {"sort": str(sort), **({} if limit is None else {"limit": str(limit)})}
    return Call("GET", "/v1/stats", InstallationFigures, query=query, repeatable=True)


def audit(tenant: str, limit: int, cursor: int | None) -> Call[AuditPage]:
    """Ask who did what to a tenant."""
    query = {"limit": str(limit), **({} if cursor is None else {"cursor": str(cursor)})}
    return Call("GET", tenant_path(tenant, "audit"), AuditPage, query=query, repeatable=True)


def usage(query: Mapping[str, str]) -> Call[UsagePage]:
    """Ask what all tenants used."""
    return Call("GET", "/v1/usage", UsagePage, query={**query}, repeatable=True)


def tenant_usage(tenant: str, query: Mapping[str, str]) -> Call[TenantUsage]:
    """Ask what one tenant used."""
    return Call("GET", tenant_path(tenant, "usage"), TenantUsage, query={**query}, repeatable=True)


def provision(tenant: str) -> Call[TenantView]:
    """Have the tenant's schema and roles made now."""
    return Call("POST", tenant_path(tenant, "provision"), TenantView, repeatable=True)


def update_tenant(
    tenant: str,
    *,
    name: str | None,
    tier: str | None,
    aliases: Iterable[str] | None,
    set: Mapping[str, Any] | None,
    unset: Iterable[str],
) -> Call[TenantView]:
    """Change the declaration of a tenant."""
    names = None if aliases is None else [*aliases]
    change = UpdateTenant(name=name, tier=tier, aliases=names, set={**(set or {})}, unset=[*unset])
    return Call("PATCH", tenant_path(tenant), TenantView, body=change)


def disable_tenant(tenant: str, reason: str) -> Call[TenantView]:
    """Let a tenant take no work."""
    body = DisableTenant(reason=reason)
    return Call("POST", tenant_path(tenant, "disable"), TenantView, body=body, repeatable=True)


def enable_tenant(tenant: str) -> Call[TenantView]:
    """Let a tenant work again."""
    return Call("POST", tenant_path(tenant, "enable"), TenantView, repeatable=True)


def backup_tenant(tenant: str, runs: Selection) -> Call[bytes]:
    """Ask for the archive of a tenant."""
    query = {"runs": runs}
    return Call("POST", tenant_path(tenant, "backup"), bytes, query=query, wait=COPY_SECONDS)


def restore_tenant(
    tenant: str,
    upload: Upload,
    *,
    of: str | None,
    runs: Selection | None,
    foreign: bool,
    to: str | None,
) -> Call[RestoredTenant]:
    """Make a tenant of an archive."""
    asked = {"of": of, "runs": runs, "foreign": "true" if foreign else None, "to": to}
    query = {key: value for key, value in asked.items() if value is not None}
    path = tenant_path(tenant, "restore")
    return Call("POST", path, RestoredTenant, body=upload, query=query, wait=COPY_SECONDS)


def clone_tenant(
    tenant: str, into: str, runs: Selection, *, to: str | None
) -> Call[RestoredTenant]:
    """Make another tenant like this one."""
    query = {"into": into, "runs": runs, **({} if to is None else {"to": to})}
    return Call(
        "POST", tenant_path(tenant, "clone"), RestoredTenant, query=query, wait=COPY_SECONDS
    )


def export_tenant(tenant: str, kind: Kind, *, unsealed: bool) -> Call[bytes]:
    """Ask for the export of a tenant."""
    query = {"format": kind, "unsealed": str(unsealed).lower()}
    return Call("POST", tenant_path(tenant, "export"), bytes, query=query, wait=COPY_SECONDS)


def import_rows(tenant: str, upload: Upload) -> Call[ImportedRows]:
    """Add the rows of an export to a tenant's tables."""
    path = tenant_path(tenant, "import")
    return Call("POST", path, ImportedRows, body=upload, wait=COPY_SECONDS)


def archive_tenant(tenant: str, *, force: bool, wait: float) -> Call[ArchivedTenant]:
    """Write a tenant into a file on the server, and drop it."""
    query, patience = _forced(force=force, wait=wait), wait + COPY_SECONDS
    return Call("POST", tenant_path(tenant, "archive"), ArchivedTenant, query=query, wait=patience)


def unarchive_tenant(tenant: str, *, to: str | None) -> Call[RestoredTenant]:
    """Bring an archived tenant back."""
    query, path = {} if to is None else {"to": to}, tenant_path(tenant, "unarchive")
    return Call("POST", path, RestoredTenant, query=query, wait=COPY_SECONDS)


def rotate_credentials(tenant: str) -> Call[RotatedCredentials]:
    """Give a tenant's logins new passwords."""
    return Call("POST", tenant_path(tenant, "rotate-credentials"), RotatedCredentials)


def list_secrets(tenant: str) -> Call[SecretList]:
    """Ask for the names of a tenant's secrets."""
    return Call("GET", tenant_path(tenant, "secrets"), SecretList, repeatable=True)


def put_secret(tenant: str, name: str, value: str) -> Call[SecretView]:
    """Store a secret."""
    body = PutSecret(value=value)
    return Call("PUT", tenant_path(tenant, "secrets", name), SecretView, body, repeatable=True)


def delete_secret(tenant: str, name: str) -> Call[DeletedSecret]:
    """Delete a secret."""
    return Call("DELETE", tenant_path(tenant, "secrets", name), DeletedSecret)


def credentials(tenant: str) -> Call[Credentials]:
    """Ask for the login of a tenant's tasks."""
    return Call("POST", tenant_path(tenant, "credentials"), Credentials, repeatable=True)


def rotate_key(tenant: str) -> Call[RotatedKey]:
    """Seal the secrets with a new key."""
    return Call("POST", tenant_path(tenant, "rotate-key"), RotatedKey, repeatable=True)


def maintain_tenant(
    tenant: str, *, after: str, statement_seconds: float
) -> Call[MaintenanceReport]:
    """Care for some of a tenant's tables. Nothing is lost when it is done twice."""
    query = {"after": after, "statement_seconds": f"{statement_seconds:.3f}"}
    return Call(
        "POST",
        tenant_path(tenant, "maintain"),
        MaintenanceReport,
        query=query,
        # A table is vacuumed, and then each of its indexes may take as long.
        wait=STATS_SECONDS + 4 * statement_seconds,
    )


def move_tenant(tenant: str, wanted: MoveTenant) -> Call[MovedTenant]:
    """Move a tenant to another database."""
    wait = wanted.wait + COPY_SECONDS
    return Call("POST", tenant_path(tenant, "move"), MovedTenant, body=wanted, wait=wait)


def rename_tenant(tenant: str, wanted: RenameTenant) -> Call[TenantView]:
    """Give a tenant another id."""
    wait = wanted.wait + RENAME_SECONDS
    return Call("POST", tenant_path(tenant, "rename"), TenantView, body=wanted, wait=wait)


def migrate(wanted: MigrateTenants) -> Call[MigrationReport]:
    """Migrate tenants. Done again it goes on where it stopped."""
    return Call("POST", "/v1/migrate", MigrationReport, body=wanted, wait=MIGRATE_SECONDS)


def adopt_schema(tenant: str, wanted: AdoptSchema) -> Call[AdoptionReport]:
    """Make an existing schema the tenant's."""
    return Call(
        "POST", tenant_path(tenant, "adopt"), AdoptionReport, body=wanted, wait=DELETE_SECONDS
    )


def delete_tenant(tenant: str, *, keep: bool, force: bool, wait: float) -> Call[DeletedTenant]:
    """Drop a tenant with all its data."""
    query = {"results": "keep" if keep else "purge"} | _forced(force=force, wait=wait)
    return Call(
        "DELETE", tenant_path(tenant), DeletedTenant, query=query, wait=wait + DELETE_SECONDS
    )


def erase_tenant(tenant: str, *, force: bool, wait: float, former: bool) -> Call[ErasedTenant]:
    """Drop a tenant with all its data, and destroy its keys; or those of `former` ones alone."""
    query, patience = _forced(force=force, wait=wait), wait + DELETE_SECONDS
    query |= {"former": str(former).lower()}
    return Call("POST", tenant_path(tenant, "erase"), ErasedTenant, query=query, wait=patience)


def create_admin_token(name: str, expires: str | None) -> Call[MintedToken]:
    """Have a token made that is for the whole installation."""
    body = CreateAdminToken(name=name, expires=expires)
    return Call("POST", "/v1/tokens", MintedToken, body)


def create_token(
    tenant: str, role: Role | str, name: str, expires: str | None
) -> Call[MintedToken]:
    """Have a token of a tenant made; what is no role is for the server to refuse."""
    body = {"role": role, "name": name, "expires": expires}
    return Call("POST", tenant_path(tenant, "tokens"), MintedToken, body)


def list_tokens(tenant: str | None) -> Call[TokenList]:
    """Ask for the tokens of a tenant, or of the installation."""
    path = "/v1/tokens" if tenant is None else tenant_path(tenant, "tokens")
    return Call("GET", path, TokenList, repeatable=True)


def revoke_token(tenant: str | None, id: str) -> Call[TokenView]:
    """Have a token of a tenant, or of the installation, made void."""
    if re.match(ID_PATTERN, id) is None:
        raise InvalidRequest(
            "that is not the id of a token",
            hint="the id alone: what stands between the two underscores of the token",
        )
    path = f"/v1/tokens/{id}" if tenant is None else tenant_path(tenant, "tokens", id)
    return Call("DELETE", path, TokenView, repeatable=True)


def start(tenant: str, run: StartRun) -> Call[Started]:
    """Start a run; one with a key is the same run however often it is sent."""
    return Call(
        "POST", tenant_path(tenant, "runs"), Started, body=run, repeatable=run.key is not None
    )


def start_many(tenant: str, runs: list[StartRun]) -> Call[dict[str, list[Started]]]:
    """Start several runs, all or none."""
    return Call(
        "POST",
        tenant_path(tenant, "runs"),
        dict[str, list[Started]],
        body=StartRuns(runs=runs),
        repeatable=all(run.key is not None for run in runs),
    )


def list_runs(tenant: str, wanted: Runs) -> Call[RunPage]:
    """Ask for a page of runs."""
    query = {"limit": str(wanted.limit)}
    if wanted.state is not None:
        query["state"] = str(wanted.state)
    if wanted.workflow is not None:
        query["workflow"] = wanted.workflow
    if wanted.since is not None:
        query["since"] = wanted.since.astimezone().isoformat()
    if wanted.cursor is not None:
        query["cursor"] = wanted.cursor
    return Call("GET", tenant_path(tenant, "runs"), RunPage, query=query, repeatable=True)


def show_run(
    tenant: str, run: UUID | str, *, wait: float = 0.0, patience: float | None = None
) -> Call[RunView]:
    """Ask for everything about one run, after at most `wait` seconds in which it may finish.

    A daemon that restarts is waited for as long as the run would have been, or for `patience`.
    """
    return Call(
        "GET",
        tenant_path(tenant, "runs", str(run)),
        RunView,
        query={"wait": f"{wait:.3f}"} if wait else {},
        repeatable=True,
        wait=wait,
        patience=wait if patience is None else patience,
    )


def change_run(tenant: str, run: UUID | str, verb: str, reason: str) -> Call[ChangedRun]:
    """Cancel, pause, resume or retry a run."""
    return Call(
        "POST",
        tenant_path(tenant, "runs", str(run), verb),
        ChangedRun,
        body=ChangeRun(reason=reason),
        # A second retry finds a run that is not failed any more, and is refused.
        repeatable=verb != "retry",
    )


def repeat_run(tenant: str, run: UUID | str, task: str | None) -> Call[Started]:
    """Start a run again, from `task` on or as a whole."""
    return Call(
        "POST", tenant_path(tenant, "runs", str(run), "repeat"), Started, RepeatRun(task=task)
    )


def send_signal(
    tenant: str, run: UUID | str, name: str, payload: Any, *, key: str | None
) -> Call[dict[str, str]]:
    """Send a run a signal; with a key it is the same signal however often it is sent."""
    return Call(
        "POST",
        tenant_path(tenant, "runs", str(run), "signals", name),
        dict[str, str],
        body=payload,
        headers={} if key is None else {"Idempotency-Key": header_value("the key", key)},
        repeatable=key is not None,
    )


def list_events(tenant: str, run: UUID | str, after: int) -> Call[list[EventView]]:
    """Ask for the next part of a run's events; an empty one is the end for now."""
    query = {"after": str(after)}
    path = tenant_path(tenant, "runs", str(run), "events")
    return Call("GET", path, list[EventView], query=query, repeatable=True)


def follow_events(
    tenant: str, run: UUID | str, after: int, *, patience: float
) -> Call[list[EventView]]:
    """Ask for a run's events as they happen."""
    return Call(
        "GET",
        tenant_path(tenant, "runs", str(run), "events"),
        list[EventView],
        query={"after": str(after)},
        headers={"Accept": "text/event-stream"},
        repeatable=True,
        patience=patience,
    )


def set_pause(
    tenant: str, workflow: str | None, *, paused: bool, reason: str = ""
) -> Call[PauseView]:
    """Pause or resume a tenant, or one of its workflows."""
    path = tenant_path(tenant, "pause" if paused else "resume")
    return Call(
        "POST", path, PauseView, SetPause(workflow=workflow, reason=reason), repeatable=True
    )


def list_dead(tenant: str, limit: int, cursor: str | None) -> Call[RunPage]:
    """Ask for a page of dead letters."""
    query = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
    return Call("GET", tenant_path(tenant, "dead"), RunPage, query=query, repeatable=True)


def change_dead(tenant: str, action: str, runs: Iterable[UUID | str] | None) -> Call[DeadReport]:
    """Replay or discard dead letters: these, or the oldest of all."""
    body = {} if runs is None else {"runs": [str(run) for run in runs]}
    return Call("POST", tenant_path(tenant, "dead", action), DeadReport, body)


def list_schedules(tenant: str) -> Call[ScheduleList]:
    """Ask for the schedules of a tenant."""
    return Call("GET", tenant_path(tenant, "schedules"), ScheduleList, repeatable=True)


def pause_schedule(tenant: str, name: str, *, paused: bool) -> Call[ScheduleView]:
    """Pause a schedule, or let it go on."""
    verb = "pause" if paused else "resume"
    return Call("POST", tenant_path(tenant, "schedules", name, verb), ScheduleView, repeatable=True)


def fire_schedule(tenant: str, name: str) -> Call[Started]:
    """Start a run of a schedule now."""
    return Call("POST", tenant_path(tenant, "schedules", name, "fire"), Started)


def polls(timeout: float | None) -> Iterator[float]:
    """Yield the seconds of each long poll until `timeout` is over: at least one, or for ever."""
    end = None if timeout is None else time.monotonic() + timeout
    left = LONGEST_POLL if timeout is None else max(0.0, timeout)
    while True:
        yield min(left, LONGEST_POLL)
        if end is not None:
            left = end - time.monotonic()
            if left <= 0:
                return


def run_id(id: UUID | str) -> UUID:
    """Return the id of a run; InvalidRequest when it can not be one."""
    try:
        return UUID(str(id))
    except ValueError:
        raise InvalidRequest(f"{id!r} is not a run id", hint="a run id is a UUID") from None


def not_finished(run: UUID, timeout: float | None) -> DeadlineExceeded:
    """Return the error of a wait that is over before its run."""
    return DeadlineExceeded(
        f"run {run} has not finished within {timeout} s",
        hint="it goes on; ask again for its result",
    )


def _forced(*, force: bool, wait: float) -> dict[str, str]:
    """Return what a verb is asked about unfinished runs."""
    return {"force": str(force).lower(), "wait": f"{wait:.3f}"}
