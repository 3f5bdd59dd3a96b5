"""Exit codes: what each error means to the script that called us."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model import errors
from orchestrator.model.errors import InsulaError

DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_ALLOWED = 4
UNREACHABLE = 5
QUOTA = 6
CONFIGURATION = 78
INTERRUPTED = 130
"""128 + SIGINT, as a shell says it."""

BROKEN_PIPE = 141
"""128 + SIGPIPE: who read our output went away."""

MEANING: Mapping[int, str] = {
    DONE: "done",
    FAILED: "the operation failed or was refused",
    USAGE: "usage: the command line is wrong",
    NOT_FOUND: "not found",
    NOT_ALLOWED: "not allowed",
    UNREACHABLE: "the daemon or the database can not be reached",
    QUOTA: "over a quota",
    CONFIGURATION: "the configuration is wrong",
    INTERRUPTED: "interrupted",
    BROKEN_PIPE: "nobody reads the output any more",
}

EXIT: Mapping[type[InsulaError], int] = {
    errors.InsulaError: FAILED,
    errors.ConfigError: CONFIGURATION,
    errors.DefinitionError: CONFIGURATION,
    errors.StartError: FAILED,
    errors.PortInUse: FAILED,
    errors.StateDirectoryInUse: FAILED,
    errors.NodeNameInUse: FAILED,
    errors.InstallationKeyDiffers: FAILED,
    errors.TenantError: FAILED,
    errors.InvalidTenantId: USAGE,
    errors.TenantNotFound: NOT_FOUND,
    errors.TenantExists: FAILED,
    errors.TenantSuspended: NOT_ALLOWED,
    errors.TenantArchived: FAILED,
    errors.DeclaredInFile: FAILED,
    errors.TenantInUse: FAILED,
    errors.RemovalIncomplete: FAILED,
    errors.TenantElsewhere: FAILED,
    errors.MoveFailed: FAILED,
    errors.CopyKept: FAILED,
    errors.NoCopyKept: FAILED,
    errors.QuotaExceeded: QUOTA,
    errors.ScheduleNotFound: NOT_FOUND,
    errors.SecretNotFound: NOT_FOUND,
    errors.TooManyTokens: FAILED,
    errors.RoleConflict: FAILED,
    errors.AdoptionRefused: FAILED,
    errors.MigrationFailed: FAILED,
    errors.MigrationChecksumMismatch: FAILED,
    errors.SchemaConflict: FAILED,
    errors.SchemaVersionAhead: FAILED,
    errors.RestoreFailed: FAILED,
    errors.ImportRefused: FAILED,
    errors.LeaseLost: FAILED,
    errors.LeaseHeldElsewhere: FAILED,
    errors.StorageFailed: FAILED,
    errors.ArchiveInvalid: FAILED,
    errors.ArchiveTooNew: FAILED,
    errors.ArchiveForeign: FAILED,
    errors.ToolMissing: FAILED,
    errors.SecretUnreadable: FAILED,
    errors.KeyErased: FAILED,
    errors.RunError: FAILED,
    errors.RunNotFound: NOT_FOUND,
    errors.WorkflowNotFound: NOT_FOUND,
    errors.InvalidInput: FAILED,
    errors.RunConflict: FAILED,
    errors.RunRefused: FAILED,
    errors.RequestError: USAGE,
    errors.InvalidRequest: USAGE,
    errors.Unauthenticated: NOT_ALLOWED,
    errors.NotAllowed: NOT_ALLOWED,
    errors.TenantNotNamed: USAGE,
    errors.TenantConflict: NOT_ALLOWED,
    errors.TokenNotFound: NOT_FOUND,
    errors.Unavailable: FAILED,
    errors.TenantBusy: FAILED,
    errors.TenantStarting: FAILED,
    errors.TenantRestarted: FAILED,
    errors.TenantQuarantined: FAILED,
    errors.TenantRemoved: FAILED,
    errors.TenantHeld: FAILED,
    errors.DeadlineExceeded: FAILED,
    errors.ShuttingDown: FAILED,
    errors.DatabaseUnavailable: UNREACHABLE,
    errors.LockNotHad: FAILED,
    errors.DatabaseFull: UNREACHABLE,
    errors.DatabaseRefused: UNREACHABLE,
    errors.CacheUnavailable: FAILED,
    errors.IssuerUnavailable: FAILED,
    errors.DaemonUnreachable: UNREACHABLE,
}


def exit_code(error: InsulaError) -> int:
    """Return the exit code of an error; a class that the table lacks has its parent's.

    >>> exit_code(errors.RunNotFound("no run 1"))
    3
    """
    return next(EXIT[kind] for kind in type(error).__mro__ if kind in EXIT)
