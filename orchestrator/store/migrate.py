"""Numbered migrations: read from files, compared with a ledger, applied to the control schema."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import asyncpg
import msgspec

from orchestrator.model.errors import (
    ConfigError,
    DatabaseUnavailable,
    LockNotHad,
    MigrationChecksumMismatch,
    MigrationFailed,
    SchemaVersionAhead,
)
from orchestrator.model.ids import CONTROL_SCHEMA
from orchestrator.store import script, sql, sqlstate
from orchestrator.store.connect import Connection, classify, translated

_QUERIES = sql.load(__name__)
LOCK = _QUERIES["lock"]
LOCK_LEDGER = _QUERIES["lock_ledger"]
HAS_LEDGER = _QUERIES["has_ledger"]
LEDGER = _QUERIES["ledger"]
RECORD = _QUERIES["record"]

_FILE = re.compile(r"(\d{4})_([a-z0-9][a-z0-9_]*)\.sql")
_OUTSIDE = re.compile(r"-- *insula: *(.*?) *(?:\n|$)")
_NEEDS_RIGHTS = frozenset({"table", "view", "sequence", "schema"})
_ENDS_TRANSACTION = frozenset({"abort", "begin", "commit", "end", "rollback", "start"})


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One file; `checksum` tells an edited one from the one that was applied.

    One that is not `transactional` is run a statement at a time, each on its own.
    """

    number: int
    name: str
    sql: str
    checksum: str
    file: str
    transactional: bool = True


class Applied(msgspec.Struct, frozen=True):
    """One row of a ledger."""

    number: int
    name: str
    checksum: str


def read_migrations(directory: Path | Traversable) -> tuple[Migration, ...]:
    """Return the `NNNN_name.sql` files of `directory`, numbered from 1 without gaps.

    Raises ConfigError with every problem, each named by its file. Files that do not end in
    .sql are passed over.

    >>> [m.name for m in read_migrations(Path("examples/flights/migrations"))]
    ['create_flight']
    """
    if not directory.is_dir():
        raise ConfigError([f"{directory}: the migrations directory is not there"])
    files = sorted(
        (file for file in directory.iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    problems: list[str] = []
    found: list[Migration] = []
    for file in files:
        try:
            found.append(_read(file))
        except ValueError as error:
            problems.append(f"{file}: {error}")
    problems.extend(_gaps(found) if not problems else [])
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def pending(
    ledger: Iterable[Applied], known: Sequence[Migration], *, owner: str
) -> tuple[Migration, ...]:
    """Return what of `known` the ledger of `owner`, a tenant or the control schema, lacks.

    Raises SchemaVersionAhead when the ledger knows more than we do, MigrationChecksumMismatch
    when a file was edited after it had been applied.
    """
    applied = {row.number: row for row in ledger}
    newest = max(applied, default=0)
    if newest > len(known):
        row = applied[newest]
        raise SchemaVersionAhead(
            owner,
            f"the schema of {owner!r} has migration {newest:04}_{row.name}, "
            f"newer than the {len(known)} known here",
            hint="update this installation, or bring the migration's file back",
            data={"applied": newest, "known": len(known)},
        )
    for migration in known:
        before = applied.get(migration.number)
        if before is not None and before.checksum != migration.checksum:
            raise MigrationChecksumMismatch(
                owner,
                f"{migration.file} has been edited since it was applied to {owner!r}",
                hint="restore the file and put the change into a new migration",
                data={"file": migration.file},
            )
    return tuple(migration for migration in known if migration.number not in applied)


def migration_failure(
    owner: str,
    migration: Migration,
    error: asyncpg.PostgresError,
    *,
    at: script.Statement | None = None,
) -> MigrationFailed | DatabaseUnavailable:
    """Return what to raise when `migration` failed, or its statement `at`: file, line, SQL error.

    A lost connection, a lock not had and a deadlock are not the migration's fault: try again.
    """
    whole = migration.transactional
    left = "nothing of this file was applied" if whole else "what stands before it stays"
    if classify(error) is DatabaseUnavailable or error.sqlstate in sqlstate.LOCK_NOT_HAD:
        kind = LockNotHad if error.sqlstate in sqlstate.LOCK_NOT_HAD else DatabaseUnavailable
        return kind(
            f"{migration.file} can not be applied to {owner!r} now: {error}",
            hint=f"somebody may hold its tables for long; {left}",
        )
    line = _line_of(migration.sql, error) if at is None else _line_of(at.text, error, at.line)
    where = f"{migration.file}:{line}" if line else migration.file
    detail = f" ({error.detail})" if getattr(error, "detail", None) else ""
    position: str | None = getattr(error, "position", None)
    return MigrationFailed(
        owner,
        f"{where}: {error}{detail}",
        hint=getattr(error, "hint", None) or f"{left}; mend it and retry",
        data={
            "file": migration.file,
            "line": line,
            "position": int(position) if position else None,
            "sqlstate": error.sqlstate,
        },
    )


def control_migrations() -> tuple[Migration, ...]:
    """Return the migrations of the control schema that this version knows."""
    return read_migrations(resources.files("orchestrator.store.control").joinpath("migrations"))


def engine_migrations() -> tuple[Migration, ...]:
    """Return the migrations of a tenant's engine tables that this version knows.

    They say `tenant.` for the schema; bind them with `sql.bind`.
    """
    return read_migrations(resources.files("orchestrator.store.tenant").joinpath("migrations"))


async def migrate_control(connection: Connection) -> int:
    """Bring the control schema up to date and return how many migrations that took.

    One transaction under a lock: nodes that start together wait for each other, and a
    node that dies in the middle leaves nothing.
    """
    known = control_migrations()
    with translated(
        "the control schema can not be made",
        hint="the login of [database] url needs CREATE on its database",
    ):
        return await _migrate_control(connection, known)


async def _migrate_control(connection: Connection, known: Sequence[Migration]) -> int:
    if not pending(await _ledger(connection), known, owner=CONTROL_SCHEMA):
        return 0
    async with connection.transaction():
        if not await connection.fetchval(HAS_LEDGER):
            await connection.execute(LOCK)
        if await connection.fetchval(HAS_LEDGER):
            await connection.execute(LOCK_LEDGER)
        missing = pending(await _ledger(connection), known, owner=CONTROL_SCHEMA)
        for migration in missing:
            try:
                await connection.execute(migration.sql)
            except asyncpg.PostgresError as error:
                raise migration_failure(CONTROL_SCHEMA, migration, error) from error
            await connection.execute(RECORD, migration.number, migration.name, migration.checksum)
    return len(missing)


async def _ledger(connection: Connection) -> list[Applied]:
    if not await connection.fetchval(HAS_LEDGER):
        return []
    return [Applied(*row) for row in await connection.fetch(LEDGER)]


def _read(file: Traversable) -> Migration:
    match = _FILE.fullmatch(file.name)
    if match is None:
        raise ValueError("a migration is called NNNN_name.sql, for example 0001_create_flight.sql")
    try:
        # One checksum on every system: an editor or git may turn the line ends.
        text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"it can not be read: {error.strerror}") from None
    if "\0" in text:
        raise ValueError("it has a NUL character")
    transactional = _is_transactional(text)
    for statement in script.statements(text):
        _check(statement, transactional=transactional)
    return Migration(
        number=int(match[1]),
        name=match[2],
        sql=text,
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        file=str(file),
        transactional=transactional,
    )


def _is_transactional(text: str) -> bool:
    """Read the mark in the first line; one that nobody knows is not passed over."""
    mark = _OUTSIDE.match(text)
    if mark is not None and mark[1] != "no-transaction":
        raise ValueError(f"line 1: there is no mark {mark[1]!r}, only `-- insula: no-transaction`")
    return mark is None


def _check(statement: script.Statement, *, transactional: bool) -> None:
    first, *rest = statement.words
    if first in _ENDS_TRANSACTION:
        where = "in one transaction of its own" if transactional else "a statement at a time"
        raise ValueError(
            f"line {statement.line}: {first.upper()} is not for a migration, "
            f"which always runs {where}"
        )
    if not transactional and first == "create" and _NEEDS_RIGHTS.intersection(rest[:3]):
        raise ValueError(
            f"line {statement.line}: what tasks need rights on is made in a file "
            "without the mark no-transaction"
        )


def _gaps(found: Sequence[Migration]) -> Iterator[str]:
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            yield (
                f"{migration.file}: the number should be {expected:04}; "
                "numbers start at 0001 and have neither gap nor double"
            )
            return


def _line_of(text: str, error: asyncpg.PostgresError, first: int | None = None) -> int | None:
    """Return the line that the server points at in `text`, whose first line is `first`.

    It points at none for a failure at run time: then a statement's is the line it begins at.
    """
    position: str | None = getattr(error, "position", None)
    if position is None:
        return first
    return text.count("\n", 0, int(position) - 1) + (first or 1)
