"""SQLSTATEs that somebody here goes by, under PostgreSQL's names for them (its appendix A)."""

from __future__ import annotations

UNIQUE_VIOLATION = "23505"
INVALID_AUTHORIZATION_SPECIFICATION = "28000"
INVALID_PASSWORD = "28P01"  # noqa: S105 - no password
DEPENDENT_OBJECTS_STILL_EXIST = "2BP01"
INVALID_CATALOG_NAME = "3D000"
INVALID_SCHEMA_NAME = "3F000"
DEADLOCK_DETECTED = "40P01"
INSUFFICIENT_PRIVILEGE = "42501"
DUPLICATE_OBJECT = "42710"
TOO_MANY_CONNECTIONS = "53300"
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"

LOCK_NOT_HAD = (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED)
"""Others had what a statement needed, for longer than it may wait."""

NOT_IN_TIME = (*LOCK_NOT_HAD, QUERY_CANCELED)
"""So they had, or it took too long for another reason."""
