"""The shards of a configuration: further databases, each with some of the tenants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import msgspec

from orchestrator.model.ids import CONTROL_SHARD
from orchestrator.settings.database import ShardSection
from orchestrator.settings.database_url import url_problems
from orchestrator.settings.model import Settings, Tier
from orchestrator.settings.tenants import unknown_shard

Isolation: TypeAlias = Literal["role", "database"]
Fault: TypeAlias = Callable[[tuple[str | int, ...], str], None]
"""Takes the path of a key and what is wrong with it."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class ShardConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A shard with its URL as it is, without variables."""

    name: str
    url: str
    isolation: Isolation = "role"

    def __repr__(self) -> str:
        """Leave the URL out: it may hold a password."""
        return f"ShardConfig(name={self.name!r}, isolation={self.isolation!r})"


def read_shards(
    sections: Mapping[str, ShardSection],
    resolve: Callable[[str], str],
    fault: Fault,
    *,
    taken: str | None,
) -> dict[str, ShardConfig]:
    """Return the shards by name; `resolve` fills in variables, ValueError when it can not.

    `taken` is the URL of the control database, which is no shard.
    """
    owners = {taken: "[database]"} if taken is not None else {}
    found: dict[str, ShardConfig] = {}
    for name, section in sections.items():
        path = ("shards", name)
        if name == CONTROL_SHARD:
            fault(path, "the name is that of the database with the control schema")
        elif not _NAME.fullmatch(name):
            fault(path, "a name has up to 32 lower-case letters, digits, '_' and '-'")
        url = _url(section, (*path, "url"), resolve, fault)
        if url is None:
            continue
        owner = owners.setdefault(url, f"[shards.{name}]")
        if owner != f"[shards.{name}]":
            fault((*path, "url"), f"is the same as that of {owner}")
        found[name] = ShardConfig(name=name, url=url, isolation=section.isolation)
    return found


def check_declared(settings: Settings, fault: Fault) -> None:
    """Complain of tenants and tiers that name a shard which is not there."""
    tables: dict[str, Mapping[str, Tier]] = {"tiers": settings.tiers, "tenants": settings.tenants}
    for table, declared in tables.items():
        for name, each in declared.items():
            if each.shard not in {None, CONTROL_SHARD, *settings.shards}:
                fault((table, name, "shard"), unknown_shard(each.shard or "", settings.shards))


def _url(
    section: ShardSection, path: tuple[str, ...], resolve: Callable[[str], str], fault: Fault
) -> str | None:
    if not section.url:
        fault(path, "must be given")
        return None
    try:
        url = resolve(section.url)
    except ValueError as error:
        fault(path, str(error))
        return None
    problems = url_problems(url)
    for problem in problems:
        fault(path, problem)
    return None if problems else url
