"""Reads the whole configuration into one snapshot, or says everything that is wrong with it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orchestrator.model.errors import ConfigError
from orchestrator.model.ids import TenantId
from orchestrator.model.text import line_problem
from orchestrator.settings.cache import read_cache
from orchestrator.settings.check import aliases_of, faults_in
from orchestrator.settings.database_url import url_problems
from orchestrator.settings.decode import Fault, decode, shown, spell
from orchestrator.settings.directories import (
    absolute,
    beside,
    control_socket,
    expanded,
    runtime_dir,
    state_dir,
)
from orchestrator.settings.duration import enc_hook
from orchestrator.settings.files import (
    Source,
    read_included,
    read_source,
    resolve_secret,
    variables_of,
)
from orchestrator.settings.model import NodeSection, Settings, Tenant, Tier
from orchestrator.settings.schedules import faults_of
from orchestrator.settings.shards import ShardConfig, check_declared, read_shards
from orchestrator.settings.tenants import TenantConfig, tenant_config

__all__ = [
    "Named",
    "Reading",
    "Snapshot",
    "TenantConfig",
    "find_config",
    "load",
    "tenant_config",
]

DATABASE_VARIABLES = ("INSULA_DATABASE_URL", "DATABASE_URL", "POSTGRESQL_URL")
"""The environment goes before the file; the first of these that is set wins."""

_SECRETS = frozenset({*DATABASE_VARIABLES, "PGPASSWORD", "PGPASSFILE", "CREDENTIALS_DIRECTORY"})

S = TypeVar("S", bound=Tier)


class Named(msgspec.Struct, frozen=True):
    """A module or workflow that a file names; the code is imported later, and may not have it.

    `place` is `file:line`, `path` the key there; `input` is that of a schedule.
    """

    place: str
    path: str
    name: str
    input: dict[str, Any] | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of the configuration: complete, valid and never changed."""

    settings: Settings
    tenants: Mapping[TenantId, TenantConfig]
    aliases: Mapping[str, TenantId]
    digest: str
    files: tuple[Path, ...]
    state_dir: Path
    runtime_dir: Path
    database_url: str | None
    cache_url: str | None = None
    shards: Mapping[str, ShardConfig] = {}
    migrations_path: Path | None
    source: Path | None
    workflows: tuple[Named, ...] = ()
    secret_variables: frozenset[str] = frozenset()
    """Variables of the environment that say or may say how to get into the database."""

    def __repr__(self) -> str:
        """Leave the URLs out: they may hold passwords."""
        return f"Snapshot(source={self.source}, tenants={len(self.tenants)}, digest={self.digest})"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in the files: a snapshot, or the problems, and what the code must have."""

    snapshot: Snapshot | None = None
    problems: list[str] = []
    modules: tuple[Named, ...] = ()
    workflows: tuple[Named, ...] = ()


def find_config(given: Path | None, directory: Path = Path()) -> Path | None:
    """Return the file to load: the one given, else `config/insula.toml` below `directory`.

    Raises ConfigError when that would be the current directory, and it is gone.
    """
    if given is not None:
        return given
    usual = absolute(directory) / "config" / "insula.toml"
    return usual if usual.is_file() else None


def load(path: Path | None, environ: Mapping[str, str]) -> Snapshot:
    """Read `path` and what it includes; None is the built-in default, without tenants.

    Raises ConfigError with every problem, each as `file:line: sentence`.
    """
    reading = read(path, environ)
    if reading.snapshot is None:
        raise ConfigError(reading.problems, hint="`insula check` reads it again")
    return reading.snapshot


def load_runtime_dir(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Return where the daemon of `path` listens; the files of tenants are not even opened.

    Raises ConfigError as `load` does, for what is wrong in `path` but for tenants and tiers.
    """
    return _Loader(read_source(path) if path else None, environ).read_runtime_dir()


def read(path: Path | None, environ: Mapping[str, str]) -> Reading:
    """Read like `load`, and return what can be told also when there are problems."""
    try:
        main = read_source(path) if path else None
    except ConfigError as error:
        return Reading(problems=error.problems)
    return _Loader(main, environ).read()


class _Loader:
    """The steps of one load and the problems met on the way."""

    def __init__(self, main: Source | None, environ: Mapping[str, str]) -> None:
        self._main = main
        self._environ = environ
        self._problems: list[str] = []
        self._sources = [main] if main else []
        self._origin: dict[tuple[str | int, ...], Source] = {}
        self._base = main.directory if main else absolute(Path())

    def read(self) -> Reading:
        settings = self._read_settings()
        if self._main:
            self._sources += read_included(self._main, settings.include, self._problems)
        tiers = self._collect("tiers", Tier)
        declarations = self._collect("tenants", Tenant)
        settings = msgspec.structs.replace(
            settings, node=self._node(settings), tiers=tiers, tenants=declarations
        )
        for fault in faults_in(settings):
            self._fault(fault.path, fault.sentence)
        state = self._directory("INSULA_STATE_DIR", settings.node.state_dir, state_dir)
        runtime = self._runtime_dir(settings)
        url = self._database_url(settings)
        shards = self._shards(settings, url)
        cache_url = read_cache(settings.cache, self._resolve, self._fault)
        migrations = self._migrations(settings)
        problems = [each for source in self._sources for each in source.problems()]
        problems += self._problems
        modules = tuple(self._names(self._main, ("workflows", "modules"))) if self._main else ()
        workflows = tuple(self._workflows(settings))
        if problems:
            return Reading(problems=problems, modules=modules, workflows=workflows)
        tenants = {
            TenantId(name): tenant_config(TenantId(name), each, tiers, settings.supervision)
            for name, each in sorted(declarations.items())
        }
        snapshot = Snapshot(
            settings=settings,
            tenants=tenants,
            aliases=aliases_of(declarations),
            digest=_digest(settings),
            files=tuple(source.path for source in self._sources),
            state_dir=state,
            runtime_dir=runtime,
            database_url=url,
            cache_url=cache_url,
            shards=shards,
            migrations_path=migrations,
            source=self._main.path if self._main else None,
            workflows=workflows,
            secret_variables=_SECRETS.union(*map(variables_of, _urls(settings))),
        )
        return Reading(snapshot=snapshot, modules=modules, workflows=workflows)

    def read_runtime_dir(self) -> Path:
        runtime = self._runtime_dir(self._read_settings())
        problems = [each for source in self._sources for each in source.problems()]
        if problems or self._problems:
            raise ConfigError(problems + self._problems, hint="`insula check` reads it again")
        return runtime

    def _runtime_dir(self, settings: Settings) -> Path:
        found = self._directory("INSULA_RUNTIME_DIR", settings.node.runtime_dir, runtime_dir)
        self._check_socket(found)
        return found

    def _workflows(self, settings: Settings) -> Iterator[Named]:
        """Yield every workflow that a tenant or tier names, in a list or for a schedule."""
        tables: dict[str, Mapping[str, Tier]] = {
            "tiers": settings.tiers,
            "tenants": settings.tenants,
        }
        for table, declared in tables.items():
            for name, declaration in declared.items():
                source = self._origin[table, name]
                if declaration.workflows is not None:
                    yield from self._names(source, (table, name, "workflows"))
                for index, each in enumerate(declaration.schedules):
                    path = (table, name, "schedules", index, "workflow")
                    if each.workflow:
                        yield Named(source.where(path), spell(path), each.workflow, each.input)

    def _names(self, source: Source, path: tuple[str | int, ...]) -> Iterator[Named]:
        """Yield the names of a list as it stands in the file, without those that are faults."""
        raw: Any = source.raw
        for key in path:
            raw = raw.get(key, []) if isinstance(raw, dict) else []
        faults = {fault.path for fault in source.faults}
        for index, name in enumerate(raw if isinstance(raw, list) else []):
            where = (*path, index)
            if where not in faults:
                yield Named(source.where(where), spell(where), name)

    def _read_settings(self) -> Settings:
        if self._main is None:
            return Settings()
        raw = {key: each for key, each in self._main.raw.items() if key not in {"tiers", "tenants"}}
        return decode(Settings, raw, (), self._main.faults)

    def _collect(self, table: str, kind: type[S]) -> dict[str, S]:
        """Gather `[table.*]` from all files; a name may be declared once."""
        found: dict[str, S] = {}
        for source in self._sources:
            raw = source.raw.get(table, {})
            if not isinstance(raw, dict):
                source.faults.append(Fault((table,), f"must be a table, not {shown(raw)}"))
                continue
            for name, each in raw.items():
                path = (table, name)
                if path in self._origin:
                    first = self._origin[path].where(path)
                    source.faults.append(Fault(path, f"is declared already at {first}"))
                    continue
                if table == "tiers" and (problem := line_problem(name)):
                    source.faults.append(Fault(path, f"the name {problem}"))
                self._origin[path] = source
                declaration = decode(kind, each, path, source.faults)
                found[name] = declaration
                where = (*path, "schedules")
                if not any(fault.path[:3] == where for fault in source.faults):
                    source.faults.extend(faults_of(declaration.schedules, where))
        return found

    def _node(self, settings: Settings) -> NodeSection:
        """Return the section, under the name that the environment gives to an instance."""
        name = self._environ.get("INSULA_NODE_NAME")
        if not name:
            return settings.node
        faults: list[Fault] = []
        named = decode(NodeSection, {"name": name}, ("INSULA_NODE_NAME",), faults)
        self._problems += [f"environment: INSULA_NODE_NAME {each.sentence}" for each in faults]
        return msgspec.structs.replace(settings.node, name=named.name)

    def _directory(self, variable: str, given: str | None, default: Any) -> Path:
        if from_environment := self._environ.get(variable):
            return expanded(from_environment).absolute()
        if given is not None:
            return beside(self._base, given)
        fallback: Path = default(self._environ, is_root=os.geteuid() == 0)
        return fallback.absolute()

    def _check_socket(self, runtime: Path) -> None:
        try:
            control_socket(runtime)
        except ConfigError as error:
            for problem in error.problems:
                self._fault(("node", "runtime_dir"), problem)

    def _database_url(self, settings: Settings) -> str | None:
        variable = next((name for name in DATABASE_VARIABLES if self._environ.get(name)), None)
        if variable is not None:
            url = self._environ[variable]
            for problem in url_problems(url):
                self._problems.append(f"environment: {variable} {problem}")
            return url
        if settings.database.url is None:
            return None
        try:
            url = resolve_secret(settings.database.url, self._environ, self._base)
        except ValueError as error:
            self._fault(("database", "url"), str(error))
            return None
        for problem in url_problems(url):
            self._fault(("database", "url"), problem)
        return url

    def _shards(self, settings: Settings, taken: str | None) -> dict[str, ShardConfig]:
        check_declared(settings, self._fault)
        return read_shards(settings.shards, self._resolve, self._fault, taken=taken)

    def _resolve(self, text: str) -> str:
        return resolve_secret(text, self._environ, self._base)

    def _migrations(self, settings: Settings) -> Path | None:
        if settings.migrations.path is None:
            return None
        path = beside(self._base, settings.migrations.path)
        if not path.is_dir():
            self._fault(("migrations", "path"), f"there is no directory {path}")
        return path

    def _fault(self, path: tuple[str | int, ...], sentence: str) -> None:
        source = self._origin.get(path[:2], self._main)
        if source is None:
            self._problems.append(str(Fault(path, sentence)))
        else:
            source.faults.append(Fault(path, sentence))


def _urls(settings: Settings) -> list[str]:
    urls = [settings.database.url or "", settings.cache.url or ""]
    return [*urls, *(shard.url for shard in settings.shards.values())]


def _digest(settings: Settings) -> str:
    encoded = msgspec.json.encode(settings, enc_hook=enc_hook, order="sorted")
    return hashlib.sha256(encoded).hexdigest()
