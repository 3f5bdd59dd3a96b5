"""Every error a user can meet, drawn once.

    InsulaError
    ├── ConfigError            edit a file
    ├── DefinitionError        edit the code of a workflow
    ├── StartError             the daemon can not start here
    │   └── PortInUse, StateDirectoryInUse, NodeNameInUse, InstallationKeyDiffers
    ├── TenantError            about one tenant
    │   ├── InvalidTenantId, TenantNotFound, TenantExists, TenantSuspended, TenantArchived
    │   ├── DeclaredInFile, TenantInUse, RemovalIncomplete, TenantElsewhere
    │   ├── MoveFailed, CopyKept, NoCopyKept
    │   ├── QuotaExceeded, ScheduleNotFound, SecretNotFound, TooManyTokens
    │   ├── RoleConflict, SchemaConflict, AdoptionRefused, MigrationFailed
    │   ├── MigrationChecksumMismatch, SchemaVersionAhead, RestoreFailed, ImportRefused
    │   └── LeaseLost, LeaseHeldElsewhere
    ├── StorageFailed          a file of ours
    ├── ArchiveInvalid         an archive of a tenant, as it was given to us
    │   └── ArchiveTooNew, ArchiveForeign
    ├── ToolMissing            a program that we need is not installed
    ├── SecretUnreadable       what was sealed can not be opened
    │   └── KeyErased
    ├── RunError               about one run
    │   └── RunNotFound, WorkflowNotFound, InvalidInput, RunConflict, RunRefused
    ├── RequestError           the request itself
    │   └── InvalidRequest, Unauthenticated, NotAllowed, TokenNotFound
    │       TenantNotNamed, TenantConflict
    └── Unavailable            try again
        ├── TenantBusy, TenantStarting, TenantRestarted, TenantQuarantined, TenantRemoved
        ├── TenantHeld
        ├── DeadlineExceeded, ShuttingDown
        ├── DatabaseRefused, CacheUnavailable, IssuerUnavailable, DaemonUnreachable
        └── DatabaseUnavailable: DatabaseFull, LockNotHad

`code` is stable and belongs to the contract; the HTTP status and the exit code of each class are
tables at the edges (`orchestrator/http/errors.py`, `orchestrator/cli/exit.py`). An error crosses a
process as code, sentence, hint and data in JSON, never pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal


class InsulaError(Exception):
    """The root of the tree. `str()` is the sentence; `hint` says what can be done about it."""

    code: ClassVar[str] = "internal"

    def __init__(
        self, sentence: str, *, hint: str = "", data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(sentence)
        self.hint = hint
        self.data = data or {}


class ConfigError(InsulaError):
    """The configuration is wrong. `problems` holds every one of them, as `file:line: sentence`."""

    code = "config_invalid"

    def __init__(self, problems: list[str], *, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint=hint, data={"problems": problems})
        self.problems = problems


class DefinitionError(InsulaError):
    """A workflow is defined wrongly; raised while its module is imported."""

    code = "definition_invalid"


class StartError(InsulaError):
    """The daemon can not start here."""

    code = "start_failed"


class PortInUse(StartError):
    """Another process listens where we should."""

    code = "port_in_use"


class StateDirectoryInUse(StartError):
    """Another daemon runs on this state directory."""

    code = "state_directory_in_use"


class NodeNameInUse(StartError):
    """Another live daemon serves this database under our node name."""

    code = "node_name_in_use"


class InstallationKeyDiffers(StartError):
    """The installation goes by another key than this node has."""

    code = "installation_key_differs"


class TenantError(InsulaError):
    """About one tenant."""

    code = "tenant_error"

    def __init__(
        self, tenant: str, sentence: str, *, hint: str = "", data: dict[str, Any] | None = None
    ) -> None:
        super().__init__(sentence, hint=hint, data={"tenant": tenant, **(data or {})})
        self.tenant = tenant


class InvalidTenantId(TenantError):
    """The text can not be a tenant id; `reasons` holds every reason."""

    code = "tenant_id_invalid"

    def __init__(self, text: str, reasons: list[str]) -> None:
        super().__init__(
            text,
            f"{text!r} can not be a tenant id: {'; '.join(reasons)}",
            hint="an id matches [a-z][a-z0-9_]*, for example acme_corp",
            data={"reasons": reasons},
        )
        self.reasons = reasons


class TenantNotFound(TenantError):
    """No such tenant is declared, or it is being deleted."""

    code = "tenant_not_found"

    def __init__(
        self,
        tenant: str,
        *,
        deleting_since: datetime | None = None,
        verb: Literal["delete", "erase", "archive"] = "delete",
        again: str = "",
    ) -> None:
        if deleting_since is None:
            sentence = f"no tenant {tenant!r} is declared or registered"
            hint = f"see `insula tenant list`, or create it: insula tenant create {tenant}"
        else:
            sentence = (
                f"tenant {tenant!r} is being {verb}d since {deleting_since:%Y-%m-%d %H:%M:%S} UTC"
            )
            hint = f"{again} goes on, should that have stopped"
        super().__init__(tenant, sentence, hint=hint)


class TenantExists(TenantError):
    """A tenant of that id or alias is there already."""

    code = "tenant_exists"


class TenantSuspended(TenantError):
    """The tenant is disabled, so it takes no work."""

    code = "tenant_suspended"

    def __init__(
        self, tenant: str, *, because: str | None = None, by_its_file: bool = True
    ) -> None:
        """Tell an operator's decision, with its reason, from what its file says."""
        super().__init__(
            tenant,
            f"tenant {tenant!r} is disabled" + (f": {because}" if because else ""),
            hint="set enabled = true in its file and reload"
            if by_its_file
            else f"insula tenant enable {tenant}",
        )


class TenantArchived(TenantError):
    """The tenant is in an archive, and nothing of it in the database."""

    code = "tenant_archived"

    def __init__(self, tenant: str) -> None:
        super().__init__(
            tenant,
            f"tenant {tenant!r} is archived",
            hint=f"insula tenant unarchive {tenant} brings it back",
        )


class DeclaredInFile(TenantError):
    """A file declares the tenant, so it is changed there."""

    code = "tenant_declared_in_file"


class TenantElsewhere(TenantError):
    """The tenant lives in another database than the one that was asked."""

    code = "tenant_elsewhere"


class MoveFailed(TenantError):
    """What was copied is not what was there; the tenant stays where it was."""

    code = "move_failed"


class CopyKept(TenantError):
    """A copy of before the tenant's last move is kept still."""

    code = "tenant_copy_kept"

    def __init__(self, tenant: str, shard: str) -> None:
        super().__init__(
            tenant,
            f"shard {shard!r} keeps a copy of tenant {tenant!r} from before its last move",
            hint=f"insula tenant move {tenant} --confirm drops it, --back returns to it",
            data={"shard": shard},
        )


class NoCopyKept(TenantError):
    """There is no copy of the tenant to go back to."""

    code = "tenant_no_copy_kept"

    def __init__(self, tenant: str) -> None:
        super().__init__(
            tenant,
            f"no shard keeps a copy of tenant {tenant!r} from before a move",
            hint="it was confirmed, or the tenant was never moved",
        )


class TenantInUse(TenantError):
    """The tenant has runs that have not finished."""

    code = "tenant_in_use"

    def __init__(self, tenant: str, unfinished: int, *, forced: str = "drop them") -> None:
        """Tell how many there are, and what becomes of them with --force."""
        super().__init__(
            tenant,
            f"tenant {tenant!r} has {unfinished} unfinished run{'s' if unfinished != 1 else ''}",
            hint=f"wait for them with --wait, cancel them, or {forced} with --force",
            data={"unfinished": unfinished},
        )


class RemovalIncomplete(TenantError):
    """The tenant was deleted, and the server still has something of its name."""

    code = "removal_incomplete"


class QuotaExceeded(TenantError):
    """The tenant is over a limit it was given."""

    code = "quota_exceeded"

    def __init__(
        self,
        tenant: str,
        *,
        limit: str,
        allowed: object,
        sentence: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(
            tenant,
            sentence or f"tenant {tenant!r} is limited to {limit} = {allowed}",
            hint=f"try again in {retry_after:.0f} s" if retry_after else f"raise limits.{limit}",
            data={"limit": limit, "allowed": allowed, "retry_after": retry_after},
        )
        self.limit = limit


class ScheduleNotFound(TenantError):
    """The tenant has no schedule of that name."""

    code = "schedule_not_found"


class SecretNotFound(TenantError):
    """The tenant has no secret of that name."""

    code = "secret_not_found"

    def __init__(self, tenant: str, name: str) -> None:
        super().__init__(
            tenant,
            f"tenant {tenant!r} has no secret {name!r}",
            hint=f"insula tenant secret set {tenant} {name}",
            data={"secret": name},
        )


class TooManyTokens(TenantError):
    """The tenant has as many tokens as it may have."""

    code = "too_many_tokens"

    def __init__(self, tenant: str, allowed: int) -> None:
        super().__init__(
            tenant,
            f"tenant {tenant!r} has {allowed} valid tokens, and may have no more",
            hint=f"revoke what is not used: insula token list --tenant {tenant}",
            data={"allowed": allowed},
        )


class RoleConflict(TenantError):
    """A database role of the name we need belongs to something else."""

    code = "role_conflict"


class SchemaConflict(TenantError):
    """A schema of the name we need belongs to something else."""

    code = "schema_conflict"


class AdoptionRefused(TenantError):
    """A schema can not be taken over as it is; `obstacles` holds every reason."""

    code = "adoption_refused"

    def __init__(self, tenant: str, schema: str, obstacles: list[str]) -> None:
        super().__init__(
            tenant,
            f"the schema {schema!r} can not become tenant {tenant!r}: {'; '.join(obstacles)}",
            hint="nothing was changed; --dry-run tells the same, and what would be done",
            data={"obstacles": obstacles},
        )
        self.obstacles = obstacles


class MigrationFailed(TenantError):
    """A migration was refused by the database."""

    code = "migration_failed"


class MigrationChecksumMismatch(TenantError):
    """A migration that was applied has been edited since."""

    code = "migration_checksum_mismatch"


class SchemaVersionAhead(TenantError):
    """The schema is newer than this daemon knows."""

    code = "schema_version_ahead"


class RestoreFailed(TenantError):
    """The database could not make the tenant of an archive; it has nothing of it."""

    code = "restore_failed"


class ImportRefused(TenantError):
    """What was to be imported does not fit; nothing was."""

    code = "import_refused"


class LeaseLost(TenantError):
    """Another owner has taken the tenant; nothing we write will land."""

    code = "lease_lost"


class LeaseHeldElsewhere(TenantError):
    """Another live node serves the tenant. Start runs on any node; ask that one all else."""

    code = "lease_held_elsewhere"

    def __init__(self, tenant: str, sentence: str) -> None:
        super().__init__(
            tenant, sentence, hint="ask the node that serves it; runs can be started on any node"
        )


class StorageFailed(InsulaError):
    """A file can not be written or read."""

    code = "storage_failed"


class ArchiveInvalid(InsulaError):
    """An archive is damaged, cut off or was changed; nothing was made from it."""

    code = "archive_invalid"


class ArchiveTooNew(ArchiveInvalid):
    """A later version wrote the archive."""

    code = "archive_too_new"


class ArchiveForeign(ArchiveInvalid):
    """Another installation wrote the archive, so that nothing proves what is in it."""

    code = "archive_foreign"


class ToolMissing(InsulaError):
    """A program that is needed is not installed, or is too old."""

    code = "tool_missing"


class SecretUnreadable(InsulaError):
    """What was sealed can not be opened: its key is not here, or it was changed."""

    code = "secret_unreadable"


class KeyErased(SecretUnreadable):
    """What was sealed can never be opened again: the tenant's key was destroyed."""

    code = "key_erased"

    def __init__(self, tenant: str, sentence: str, *, hint: str) -> None:
        super().__init__(sentence, hint=hint, data={"tenant": tenant})


class RunError(InsulaError):
    """About one run."""

    code = "run_error"


class RunNotFound(RunError):
    """No such run."""

    code = "run_not_found"


class WorkflowNotFound(RunError):
    """No such workflow is served."""

    code = "workflow_not_found"


class InvalidInput(RunError):
    """The input does not fit the workflow; the sentence names every path."""

    code = "input_invalid"


class RunConflict(RunError):
    """The state of the run does not allow it."""

    code = "run_conflict"


class RunRefused(RunError):
    """The database would not store the run."""

    code = "run_refused"


class RequestError(InsulaError):
    """The request itself is wrong."""

    code = "request_error"


class InvalidRequest(RequestError):
    """The request can not be understood; the sentence names every path."""

    code = "request_invalid"


class Unauthenticated(RequestError):
    """The request has no token, or none that is valid; nothing tells which."""

    code = "unauthenticated"

    def __init__(self) -> None:
        super().__init__(
            "this needs a valid token",
            hint="send the header `Authorization: Bearer TOKEN`, as the command line does with "
            "INSULA_TOKEN or --token-file; on the daemon's machine `insula token create` and "
            "`insula tenant token` make one",
        )


class NotAllowed(RequestError):
    """The caller may not do that."""

    code = "not_allowed"


class TenantNotNamed(RequestError):
    """A request to a web application has to name a tenant, and names none."""

    code = "tenant_not_named"

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(
            "the request names no tenant", hint=f"it may stand in: {', '.join(places)}"
        )


class TenantConflict(NotAllowed):
    """A request to a web application names several tenants."""

    code = "tenant_conflict"

    def __init__(self, places: Sequence[str]) -> None:
        super().__init__(
            f"the request names different tenants in: {', '.join(places)}",
            hint="one request is for one tenant: name it once, or the same everywhere",
        )


class TokenNotFound(RequestError):
    """There is no token of that id."""

    code = "token_not_found"

    def __init__(self, id: str) -> None:
        super().__init__(
            f"there is no token {id!r}",
            hint="its id is in `insula token list`; a tenant's is listed and revoked with --tenant",
        )


class Unavailable(InsulaError):
    """Not now: trying again later may succeed. `retry_after` is in seconds."""

    code = "unavailable"

    def __init__(
        self,
        sentence: str,
        *,
        hint: str = "",
        retry_after: float = 1.0,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(sentence, hint=hint, data={"retry_after": retry_after, **(data or {})})
        self.retry_after = retry_after


class TenantBusy(Unavailable):
    """The tenant's mailbox is full."""

    code = "tenant_busy"


class TenantStarting(Unavailable):
    """The tenant is not ready yet."""

    code = "tenant_starting"


class TenantRestarted(Unavailable):
    """The tenant's supervisor restarted while it handled the request; the outcome is unknown."""

    code = "tenant_restarted"


class TenantQuarantined(Unavailable):
    """The tenant keeps failing and is left alone until the next probe."""

    code = "tenant_quarantined"


class TenantRemoved(Unavailable):
    """The tenant was taken out of the configuration."""

    code = "tenant_removed"


class TenantHeld(Unavailable):
    """A verb keeps the tenant quiet; it goes on by itself."""

    code = "tenant_held"

    def __init__(self, tenant: str, verb: str, sentence: str = "") -> None:
        super().__init__(
            sentence or f"tenant {tenant!r} is held for {verb}",
            hint="it goes on by itself; nothing was stored, so try again in a moment",
            retry_after=5.0,
            data={"tenant": tenant, "verb": verb},
        )


class DeadlineExceeded(Unavailable):
    """No answer in time; the outcome is unknown."""

    code = "deadline_exceeded"


class ShuttingDown(Unavailable):
    """The daemon drains."""

    code = "shutting_down"


class DatabaseUnavailable(Unavailable):
    """The database can not be reached."""

    code = "database_unavailable"


class DatabaseFull(DatabaseUnavailable):
    """The server has no room for another connection."""

    code = "database_full"


class LockNotHad(DatabaseUnavailable):
    """Somebody else holds, for longer than is waited, what has to be changed."""

    code = "lock_not_had"


class DatabaseRefused(Unavailable):
    """The database is there but refuses the login or a right we need."""

    code = "database_refused"


class CacheUnavailable(Unavailable):
    """The server that keeps the caches of tenants can not be reached, or refuses."""

    code = "cache_unavailable"


class IssuerUnavailable(Unavailable):
    """The issuer of bearer tokens does not tell its keys, so nobody knows whether one is good."""

    code = "issuer_unavailable"


class DaemonUnreachable(Unavailable):
    """No daemon answers at the control socket."""

    code = "daemon_unreachable"


def every_error() -> dict[str, type[InsulaError]]:
    """Return every class of the tree by its code; a client raises by it what a server sent."""
    found: dict[str, type[InsulaError]] = {}
    pending: list[type[InsulaError]] = [InsulaError]
    while pending:
        error = pending.pop()
        found.setdefault(error.code, error)
        pending.extend(error.__subclasses__())
    return found


def revive(code: str, sentence: str, hint: str, data: dict[str, Any]) -> InsulaError:
    """Rebuild an error that crossed a process; an unknown code becomes a plain InsulaError."""
    error = InsulaError.__new__(every_error().get(code, InsulaError))
    Exception.__init__(error, sentence)
    error.hint = hint
    error.data = data
    if isinstance(error, Unavailable):
        error.retry_after = 1.0
    own = {"hint", "data"}  # and nothing of Exception: data is what a server sent
    vars(error).update({key: each for key, each in data.items() if key not in own})
    return error
