"""Identifiers: what a tenant may be called, and the database names derived from it."""

from __future__ import annotations

import os
import re
import time
from typing import NewType
from uuid import UUID

from orchestrator.model.errors import InvalidTenantId

TenantId = NewType("TenantId", str)
"""A validated, canonical tenant id; only `parse_tenant_id` makes one from outside input."""

IDENTIFIER_BYTES = 63
"""PostgreSQL cuts longer names silently (NAMEDATALEN - 1), so we refuse them instead."""

TENANT_ID_LENGTH = 54
"""`insula_e_` (9) and the id must fit IDENTIFIER_BYTES; `tenant_` (7) then fits too."""

SCHEMA_PREFIX = "tenant_"
DEFAULT_ROLE_PREFIX = "insula"
CONTROL_SCHEMA = "insula"
CONTROL_SHARD = "control"
"""The name of the database that holds the control schema, as a place for tenants."""

_WORD = re.compile(r"[A-Za-z0-9_-]*")  # case and hyphens have reasons of their own
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_RESERVED = frozenset(
    {"public", "information_schema", "pg_catalog", "pg_toast", "pg_temp", CONTROL_SCHEMA}
)


def parse_tenant_id(text: str, *, role_prefix: str = DEFAULT_ROLE_PREFIX) -> TenantId:
    """Return `text` as a tenant id.

    Raises InvalidTenantId with every reason at once, before any SQL is built from the text.

    >>> parse_tenant_id("acme_corp")
    'acme_corp'
    """
    problems = tenant_id_problems(text, role_prefix=role_prefix)
    if problems:
        raise InvalidTenantId(text, problems)
    return TenantId(text)


def tenant_id_problems(text: str, *, role_prefix: str = DEFAULT_ROLE_PREFIX) -> list[str]:
    """Return every reason why `text` can not be a tenant id; empty when it can."""
    if not text:
        return ["it is empty"]
    size = len(text.encode("utf-8", "replace"))
    allowed = min(TENANT_ID_LENGTH, IDENTIFIER_BYTES - len(role_prefix) - len("_e_"))
    reasons = {
        "it has characters outside ASCII": not text.isascii(),
        "it has upper-case letters; ids are lower case, an alias may be mixed": (
            text != text.lower()
        ),
        "it has a hyphen; ids use underscores, an alias may have hyphens": "-" in text,
        "it starts with 'pg_', which PostgreSQL keeps for itself": text.startswith("pg_"),
        "it starts with an underscore": text.startswith("_"),
        "it does not start with a letter": text[0] != "_" and not text[0].isalpha(),
        "it has characters other than a-z, 0-9 and underscore": not _WORD.fullmatch(text),
        "the name is reserved": text in _RESERVED,
        f"it is {size} bytes long; at most {allowed} fit the role": size > allowed,
    }
    return [reason for reason, holds in reasons.items() if holds]


def alias_problems(text: str) -> list[str]:
    """Return every reason why `text` can not be an alias; empty when it can.

    An alias may have hyphens, digits first and upper case; it only ever resolves to an id.
    """
    if not text:
        return ["it is empty"]
    reasons: list[str] = []
    if not _ALIAS.fullmatch(text):
        reasons.append("an alias has only ASCII letters, digits, hyphens and underscores")
    if len(text) > IDENTIFIER_BYTES:
        reasons.append(f"it is longer than {IDENTIFIER_BYTES} characters")
    if text.lower() in _RESERVED:
        reasons.append("the name is reserved")
    return reasons


def folded(name: str) -> str:
    """Return how a name is looked up: ids and aliases are ASCII, and their case does not matter.

    Another letter stays what it is: Unicode folds some into ASCII, and what an issuer of tokens
    takes for two tenants would be one here.

    >>> folded("Acme-Corp"), folded("\u017ftripe") == "stripe"
    ('acme-corp', False)
    """
    return name.lower() if name.isascii() else name


def schema_of(tenant: TenantId) -> str:
    """Return the name of the tenant's schema, not quoted."""
    return SCHEMA_PREFIX + tenant


def engine_role(tenant: TenantId, *, prefix: str = DEFAULT_ROLE_PREFIX) -> str:
    """Return the login role of the tenant's supervisor, not quoted."""
    return f"{prefix}_e_{tenant}"


def app_role(tenant: TenantId, *, prefix: str = DEFAULT_ROLE_PREFIX) -> str:
    """Return the login role of the tenant's tasks and application SQL, not quoted."""
    return f"{prefix}_a_{tenant}"


def quote_identifier(name: str) -> str:
    """Quote one SQL identifier; the only place in the code base that does.

    Raises ValueError for a name PostgreSQL would cut or could not store.
    """
    if not name or "\0" in name or len(name.encode()) > IDENTIFIER_BYTES:
        raise ValueError(f"not an identifier that PostgreSQL can hold: {name!r}")
    return '"' + name.replace('"', '""') + '"'


def new_run_id() -> UUID:
    """Return a UUID version 7 (RFC 9562, 5.7), so that inserts stay local and ids sort by time.

    The twelve bits after the milliseconds continue the time (6.2, method 3): the runs of one batch
    keep their order.
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64
    return UUID(int=value | 0x2 << 62 | int.from_bytes(os.urandom(8)) >> 2)


def run_id_at(seconds: float) -> UUID:
    """Return the least run id of a moment, in seconds since 1970: where a range of ids begins."""
    return UUID(int=(int(seconds * 1000) & (1 << 48) - 1) << 80)
