"""The HTTP status of each error, in a table that can be read without a web server."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model import errors
from orchestrator.model.errors import InsulaError

STATUS: Mapping[type[InsulaError], int] = {
    errors.InsulaError: 500,
    errors.ConfigError: 422,
    errors.DefinitionError: 422,
    errors.StartError: 500,
    errors.PortInUse: 500,
    errors.StateDirectoryInUse: 500,
    errors.NodeNameInUse: 500,
    errors.TenantError: 409,
    errors.InvalidTenantId: 422,
    errors.TenantNotFound: 404,
    errors.TenantExists: 409,
    errors.TenantSuspended: 403,
    errors.TenantArchived: 409,
    errors.DeclaredInFile: 409,
    errors.TenantInUse: 409,
    errors.RemovalIncomplete: 500,
    errors.TenantElsewhere: 409,
    errors.MoveFailed: 409,
    errors.CopyKept: 409,
    errors.NoCopyKept: 409,
    errors.QuotaExceeded: 429,
    errors.ScheduleNotFound: 404,
    errors.SecretNotFound: 404,
    errors.RoleConflict: 409,
    errors.AdoptionRefused: 409,
    errors.MigrationFailed: 409,
    errors.MigrationChecksumMismatch: 409,
    errors.SchemaConflict: 409,
    errors.SchemaVersionAhead: 409,
    errors.RestoreFailed: 409,
    errors.ImportRefused: 409,
    errors.LeaseLost: 503,
    errors.LeaseHeldElsewhere: 503,
    errors.StorageFailed: 500,
    errors.ArchiveInvalid: 422,
    errors.ArchiveTooNew: 422,
    errors.ArchiveForeign: 422,
    errors.ToolMissing: 500,
    errors.SecretUnreadable: 500,
    errors.KeyErased: 410,
    errors.RunError: 409,
    errors.RunNotFound: 404,
    errors.WorkflowNotFound: 404,
    errors.InvalidInput: 422,
    errors.RunConflict: 409,
    errors.RunRefused: 422,
    errors.RequestError: 422,
    errors.InvalidRequest: 422,
    errors.Unauthenticated: 401,
    errors.NotAllowed: 403,
    errors.TenantNotNamed: 400,
    errors.TenantConflict: 403,
    errors.TokenNotFound: 404,
    errors.Unavailable: 503,
    errors.TenantBusy: 429,
    errors.TenantStarting: 503,
    errors.TenantRestarted: 503,
    errors.TenantQuarantined: 503,
    errors.TenantRemoved: 503,
    errors.TenantHeld: 503,
    errors.DeadlineExceeded: 503,
    errors.ShuttingDown: 503,
    errors.DatabaseUnavailable: 503,
    errors.DatabaseFull: 503,
    errors.LockNotHad: 503,
    errors.DatabaseRefused: 503,
    errors.CacheUnavailable: 503,
    errors.DaemonUnreachable: 503,
}


def status_of(error: InsulaError) -> int:
    """Return the HTTP status of an error; a class that the table lacks has its parent's."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
