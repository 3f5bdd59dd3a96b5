"""The server and its sessions: settings, the admin login's rights, what holds others up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import msgspec

from orchestrator.model.findings import Finding, Severity
from orchestrator.store import sql
from orchestrator.store.connect import Connection, Record

_QUERIES = sql.load(__name__)
SETTINGS = _QUERIES["settings"]
DATABASE = _QUERIES["database"]
SESSIONS = _QUERIES["sessions"]
PREPARED = _QUERIES["prepared"]
SLOTS = _QUERIES["slots"]

OLDEST_VERSION = 150000
LONG = timedelta(minutes=10)
IDLE = timedelta(minutes=1)
OLD_AGE = 1_000_000_000
"""Transactions after which a database that is not vacuumed is half way to its end."""

NODE_CONNECTIONS = 20
"""What a node keeps beside its tenants: control, keeper, listener and errands, with room."""


class _Rule(msgspec.Struct, frozen=True):
    """What a setting should be."""

    name: str
    is_right: Callable[[str], bool]
    severity: Severity
    because: str
    wanted: str
    mend: str = ""
    """What is to be done where the setting can not be set."""


def _is(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


_RULES = (
    _Rule("fsync", _is("on"), Severity.ERROR, "a crash of the machine destroys the data", "on"),
    _Rule(
        "full_page_writes",
        _is("on"),
        Severity.ERROR,
        "a crash of the machine can leave torn pages",
        "on",
    ),
    _Rule(
        "synchronous_commit",
        _is("on", "local", "remote_write", "remote_apply"),
        Severity.ERROR,
        "what is told to be durable can be lost in a crash",
        "on",
    ),
    _Rule("autovacuum", _is("on"), Severity.ERROR, "dead rows stay and tables only grow", "on"),
    _Rule("track_counts", _is("on"), Severity.ERROR, "autovacuum does not know what to do", "on"),
    _Rule(
        "standard_conforming_strings",
        _is("on"),
        Severity.ERROR,
        "texts with a backslash are read otherwise than they are written",
        "on",
    ),
    _Rule("server_encoding", _is("UTF8"), Severity.ERROR, "not every text can be stored", "UTF8"),
    _Rule(
        "default_transaction_isolation",
        _is("read committed"),
        Severity.ERROR,
        "the engine's statements are written for read committed",
        "read committed",
    ),
    _Rule(
        "default_transaction_read_only", _is("off"), Severity.ERROR, "nothing can be stored", "off"
    ),
    _Rule(
        "max_locks_per_transaction",
        lambda value: int(value) >= 64,
        Severity.WARNING,
        "dumps and migrations lock every table of a schema",
        "at least 64; 256 for thousands of tenants",
    ),
    _Rule(
        "data_checksums",
        _is("on"),
        Severity.NOTICE,
        "a broken disk goes unnoticed for long",
        "on",
        mend="stop the server, and then: pg_checksums --enable -D DIRECTORY",
    ),
    _Rule(
        "log_lock_waits",
        _is("on"),
        Severity.NOTICE,
        "the server's log does not tell who waited for whom",
        "on",
    ),
    _Rule(
        "log_min_error_statement",
        lambda value: value not in {"fatal", "panic"},
        Severity.NOTICE,
        "the server's log does not tell which statement failed",
        "error",
    ),
    _Rule(
        "TimeZone",
        _is("UTC", "Etc/UTC", "GMT"),
        Severity.NOTICE,
        "SQL of people and of applications shows and reads local times; schedules do not mind",
        "UTC",
    ),
)


async def examine_server(
    connection: Connection, *, max_awake: int, embedded: bool
) -> list[Finding]:
    """Return what is wrong with the server, the database and the admin login's rights.

    On an `embedded` server that login is the superuser and nobody else's: no finding.
    """
    values = {row["name"]: row["setting"] for row in await connection.fetch(SETTINGS)}
    row = await connection.fetchrow(DATABASE)
    assert row is not None  # noqa: S101 - one row always
    return [
        *_settings(values),
        *_version(values),
        *_connections(values, max_awake),
        *(() if embedded else _rights(row)),
        *_database(row),
    ]


async def examine_sessions(connection: Connection) -> list[Finding]:
    """Return what of the database's sessions and slots holds others up."""
    findings = [_session(row) for row in await connection.fetch(SESSIONS, IDLE, LONG)]
    findings += [
        Finding(
            severity=Severity.WARNING,
            check="transaction.prepared",
            subject=f"transaction {row['gid']}",
            what=f"it was prepared by {row['owner']} at {row['prepared']:%Y-%m-%d %H:%M:%S} UTC, "
            "holds its locks, and keeps dead rows",
            mend=f"COMMIT PREPARED or ROLLBACK PREPARED {row['quoted']}",
        )
        for row in await connection.fetch(PREPARED)
    ]
    findings += [
        Finding(
            severity=Severity.WARNING,
            check="slot.inactive",
            subject=f"replication slot {row['slot_name']}",
            what="nobody reads it, and the server keeps all it has not read",
            mend=f"start its reader, or SELECT pg_drop_replication_slot({row['quoted']})",
        )
        for row in await connection.fetch(SLOTS)
    ]
    return findings


def _settings(values: Mapping[str, str]) -> Iterator[Finding]:
    for rule in _RULES:
        value = values.get(rule.name)
        if value is not None and not rule.is_right(value):
            yield Finding(
                severity=rule.severity,
                check=f"setting.{rule.name.lower()}",
                subject="server",
                what=f"{rule.name} is {value}: {rule.because}",
                mend=rule.mend or f"set {rule.name} = {rule.wanted}",
            )


def _version(values: Mapping[str, str]) -> Iterator[Finding]:
    if int(values["server_version_num"]) < OLDEST_VERSION:
        yield Finding(
            severity=Severity.ERROR,
            check="server.version",
            subject="server",
            what=f"it is PostgreSQL {values['server_version']}",
            mend="use PostgreSQL 15 or newer",
        )


def _connections(values: Mapping[str, str], awake: int) -> Iterator[Finding]:
    there = int(values["max_connections"]) - int(values["superuser_reserved_connections"])
    needed, ample = awake + NODE_CONNECTIONS, 3 * awake + NODE_CONNECTIONS
    if there < ample:
        yield Finding(
            severity=Severity.WARNING if there < needed else Severity.NOTICE,
            check="setting.max_connections",
            subject="server",
            what=f"{there} connections can be had; a node with {awake} tenants awake has {needed}, "
            f"and {ample} when all of them have tasks that use the database",
            mend=f"set max_connections, or [node] max_awake_tenants below {awake}",
        )


def _rights(row: Record) -> Iterator[Finding]:
    if row["superuser"]:
        yield Finding(
            severity=Severity.NOTICE,
            check="login.superuser",
            subject=f"role {row['login']}",
            what="the login of [database] url is a superuser, which it need not be",
            mend="use one with CREATEROLE, and CREATE on the database",
        )
    for right, had in (
        ("CREATEROLE", row["createrole"]),
        ("CREATE on the database", row["create"]),
    ):
        if not (had or row["superuser"]):
            yield Finding(
                severity=Severity.ERROR,
                check="login.rights",
                subject=f"role {row['login']}",
                what=f"the login of [database] url has no {right}: no tenant can be made",
                mend=f"ALTER ROLE {row['login']} CREATEROLE"
                if right == "CREATEROLE"
                else f"GRANT CREATE ON DATABASE {row['database']} TO {row['login']}",
            )


def _database(row: Record) -> Iterator[Finding]:
    if row["in_recovery"]:
        yield Finding(
            severity=Severity.ERROR,
            check="server.standby",
            subject="server",
            what="it is a standby, which stores nothing",
            mend="name the primary in [database] url",
        )
    if row["public_create"]:
        yield Finding(
            severity=Severity.WARNING,
            check="schema.public",
            subject="schema public",
            what="every login may create in it, also a tenant's",
            mend="REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        )
    if row["age"] > OLD_AGE:
        yield Finding(
            severity=Severity.WARNING,
            check="database.age",
            subject=f"database {row['database']}",
            what=f"its oldest row is {row['age']:,} transactions old; at two thousand million the "
            "server stops",
            mend="end what is old of sessions and slots, and let VACUUM run",
        )


def _session(row: Record) -> Finding:
    state = row["state"] or "unknown"
    return Finding(
        severity=Severity.WARNING,
        check="session.idle" if state.startswith("idle") else "session.long",
        subject=f"session {row['pid']}",
        what=f"{row['usename']} ({row['application_name'] or 'no name'}) is in a transaction since "
        f"{row['xact_start']:%Y-%m-%d %H:%M:%S} UTC, {state}: it holds locks and keeps dead rows",
        mend=f"find out what it does, or SELECT pg_terminate_backend({row['pid']})",
    )
