"""What a tenant is given: its declaration with the tier's defaults merged in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

import msgspec

from orchestrator.model.api import CreateTenant, UpdateTenant
from orchestrator.model.errors import ConfigError, InvalidRequest
from orchestrator.model.ids import (
    CONTROL_SHARD,
    DEFAULT_ROLE_PREFIX,
    TenantId,
    alias_problems,
    parse_tenant_id,
    tenant_id_problems,
)
from orchestrator.settings.decode import Fault, decode, suggest
from orchestrator.settings.duration import Duration, enc_hook
from orchestrator.settings.model import Limits, SupervisionSection, Tenant, Tier
from orchestrator.settings.schedules import TenantSchedule, faults_of, merged


class TenantConfig(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A tenant as the daemon serves it: the tier is merged in, so every value is final."""

    id: TenantId
    name: str
    enabled: bool = True
    tier: str | None = None
    aliases: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    features: dict[str, bool] = {}
    limits: Limits = msgspec.field(default_factory=Limits)
    metadata: dict[str, Any] = {}
    workflows: tuple[str, ...] | None = None
    schedules: tuple[TenantSchedule, ...] = ()
    idle_ttl: timedelta = Duration(seconds=60)
    encrypt_payloads: bool = False
    weight: int = 1
    shard: str = CONTROL_SHARD
    """Where its tables are, or will be made."""
    source: Literal["file", "api"] = "file"
    disabled_because: str | None = None
    """The reason of an operator who disabled it; None when only its declaration may have."""

    origin: str | None = None
    """The id that it was made under, when it has another one now."""

    held_for: str | None = None
    """The verb that keeps it quiet for now; None when it is not held."""

    registration: UUID | None = None
    """What tells it from a former tenant of its id; None before the registry has it."""

    @property
    def digest(self) -> str:
        """What tells it from another one, whatever operators and verbs make of it meanwhile."""
        schedules = tuple(msgspec.structs.replace(each, since=None) for each in self.schedules)
        declared = msgspec.structs.replace(
            self,
            disabled_because=None,
            held_for=None,
            origin=None,
            registration=None,
            schedules=schedules,
        )
        text = msgspec.json.encode(declared, enc_hook=enc_hook, order="sorted")
        return blake2b(text, digest_size=8).hexdigest()

    @property
    def works(self) -> bool:
        """Whether it takes work now."""
        return self.enabled and self.held_for is None

    @property
    def disabled_by_its_file(self) -> bool:
        """Whether it is only in its file that it can be enabled."""
        return not self.enabled and self.source == "file" and self.disabled_because is None

    def disabled(self, because: str) -> TenantConfig:
        """Return it as an operator's decision makes it."""
        return msgspec.structs.replace(self, enabled=False, disabled_because=because)

    def known_as(self, *, shard: str, origin: str | None, registration: UUID) -> TenantConfig:
        """Return it as the registry has it: where it is, made under which id, and which one."""
        return msgspec.structs.replace(self, shard=shard, origin=origin, registration=registration)

    def held(self, verb: str) -> TenantConfig:
        """Return it as a verb makes it that keeps it quiet."""
        return msgspec.structs.replace(self, held_for=verb)


def tenant_config(
    tenant: TenantId,
    declaration: Tenant,
    tiers: Mapping[str, Tier],
    supervision: SupervisionSection,
    *,
    source: Literal["file", "api"] = "file",
) -> TenantConfig:
    """Merge the tenant's tier into its declaration.

    Maps and limits are merged key by key. Raises InvalidRequest when the tier is not declared.
    """
    if declaration.tier is not None and declaration.tier not in tiers:
        sentence = unknown_tier(declaration.tier, tiers)
        raise InvalidRequest(f"tier: {sentence}", data={"tenant": tenant})
    tier = tiers[declaration.tier] if declaration.tier is not None else Tier()
    workflows = _first(declaration.workflows, tier.workflows)
    return TenantConfig(
        id=tenant,
        name=declaration.name or tenant,
        enabled=declaration.enabled,
        tier=declaration.tier,
        aliases=tuple(declaration.aliases),
        settings={**tier.settings, **declaration.settings},
        features={**tier.features, **declaration.features},
        limits=_merge_limits(tier.limits, declaration.limits),
        metadata={**tier.metadata, **declaration.metadata},
        workflows=None if workflows is None else tuple(workflows),
        schedules=merged(tenant, tier.schedules, declaration.schedules),
        idle_ttl=_first(declaration.idle_ttl, tier.idle_ttl, supervision.idle_ttl),
        encrypt_payloads=_first(declaration.encrypt_payloads, tier.encrypt_payloads, False),
        weight=_first(declaration.weight, tier.weight, 1),
        shard=_first(declaration.shard, tier.shard, CONTROL_SHARD),
        source=source,
    )


def declare(
    request: CreateTenant, tiers: Mapping[str, Tier], *, role_prefix: str = DEFAULT_ROLE_PREFIX
) -> tuple[TenantId, Tenant]:
    """Return the id and the declaration that a request to create a tenant asks for.

    `request.set` maps dotted paths to values: `{"limits.max_queue_length": 500}`.
    Raises InvalidRequest with every problem, or InvalidTenantId when only the id is wrong.
    """
    faults: list[Fault] = []
    declaration = _declare(request, faults)
    if declaration.tier is not None and declaration.tier not in tiers:
        faults.append(Fault(("tier",), unknown_tier(declaration.tier, tiers)))
    if faults:
        reasons = tenant_id_problems(request.id, role_prefix=role_prefix)
        faults = [Fault(("id",), reason) for reason in reasons] + faults
    _refuse(faults)
    return parse_tenant_id(request.id, role_prefix=role_prefix), declaration


def updated(stored: str, request: UpdateTenant, tiers: Mapping[str, Tier]) -> Tenant:
    """Return the declaration `stored` (JSON) with what a request changes.

    Paths are those of `declare`; `request.unset` puts them back to their defaults.
    Raises InvalidRequest with every problem, ConfigError when `stored` can not be read any more.
    """
    load_declaration(stored)
    raw = msgspec.json.decode(stored)
    paths = [path.split(".") for path in request.unset]
    faults = [Fault(tuple(path), "is not set") for path in paths if not _take(raw, path)]
    for path, value in request.set.items():
        _take(raw, path.split("."))
        if not _put(raw, path.split("."), value):
            faults.append(Fault(tuple(path.split(".")), "is below something that is no table"))
    given = {"name": request.name, "tier": request.tier, "aliases": request.aliases}
    raw.update({key: value for key, value in given.items() if value is not None})
    declaration = _decode(raw, faults)
    faults.extend(_alias_faults(declaration))
    if declaration.tier is not None and declaration.tier not in tiers:
        faults.append(Fault(("tier",), unknown_tier(declaration.tier, tiers)))
    _refuse(faults)
    return declaration


def renamed(stored: str, old: TenantId, new: TenantId, *, alias: bool) -> Tenant:
    """Return the declaration `stored` (JSON) of tenant `old` as that of `new`.

    The old id becomes an `alias` if wanted; the new one is none any more. Raises ConfigError when
    `stored` can not be read any more.
    """
    declaration = load_declaration(stored)
    aliases = [each for each in declaration.aliases if each.casefold() not in {old, new}]
    return msgspec.structs.replace(declaration, aliases=[*aliases, old] if alias else aliases)


def _declare(request: CreateTenant, faults: list[Fault]) -> Tenant:
    raw: dict[str, Any] = {}
    for path, value in request.set.items():
        if not _put(raw, path.split("."), value):
            faults.append(
                Fault(tuple(path.split(".")), "is set twice, or below something that is no table")
            )
    given = {"name": request.name, "tier": request.tier, "aliases": request.aliases or None}
    for key, value in given.items():
        if value is not None and key in raw:
            faults.append(Fault((key,), "is given twice"))
        elif value is not None:
            raw[key] = value
    declaration = _decode(raw, faults)
    faults.extend(_alias_faults(declaration))
    return declaration


def _alias_faults(declaration: Tenant) -> list[Fault]:
    return [
        Fault(("aliases",), f"{alias!r} can not be an alias: {reason}")
        for alias in declaration.aliases
        for reason in alias_problems(alias)
    ]


def dump_declaration(declaration: Tenant) -> str:
    """Return a declaration as JSON, for the registry."""
    return msgspec.json.encode(declaration, enc_hook=enc_hook).decode()


def load_declaration(text: str) -> Tenant:
    """Read what `dump_declaration` wrote; raises ConfigError when this version can not."""
    faults: list[Fault] = []
    try:
        raw = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError([f"a stored declaration is no JSON: {error}"]) from None
    declaration = _decode(raw, faults)
    if faults:
        raise ConfigError([f"a stored declaration is not valid here: {each}" for each in faults])
    return declaration


def unknown_tier(name: str, tiers: Mapping[str, Tier]) -> str:
    """Return the sentence for a tier that is not declared."""
    what = "declared tiers"
    hint = suggest(name, tiers, what=what) or "; none is declared, write [tiers.NAME]"
    return f"no tier {name!r} is declared{hint}"


def unknown_shard(name: str, shards: Iterable[str]) -> str:
    """Return the sentence for a shard that is not configured."""
    hint = suggest(name, [CONTROL_SHARD, *shards], what="shards")
    return f"no shard {name!r} is configured{hint}"


def _decode(raw: object, faults: list[Fault]) -> Tenant:
    declaration = decode(Tenant, raw, (), faults)
    if not any(each.path[:1] == ("schedules",) for each in faults):
        faults.extend(faults_of(declaration.schedules, ("schedules",)))
    return declaration


def _merge_limits(tier: Limits, own: Limits) -> Limits:
    changed = {
        name: value for name, value in msgspec.structs.asdict(own).items() if value is not None
    }
    return msgspec.structs.replace(tier, **changed)


def _first(*choices: Any) -> Any:
    return next((each for each in choices if each is not None), None)


def _put(raw: dict[str, Any], path: list[str], value: object) -> bool:
    *tables, last = path
    for key in tables:
        inner = raw.setdefault(key, {})
        if not isinstance(inner, dict):
            return False
        raw = inner
    if last in raw:
        return False
    raw[last] = deepcopy(value)  # another path may add to it
    return True


def _take(raw: dict[str, Any], path: list[str]) -> bool:
    """Remove what a path leads to; False when there is nothing."""
    *tables, last = path
    for key in tables:
        inner = raw.get(key)
        if not isinstance(inner, dict):
            return False
        raw = inner
    return raw.pop(last, None) is not None


def _refuse(faults: list[Fault]) -> None:
    if faults:
        problems = [str(each) for each in faults]
        raise InvalidRequest("; ".join(problems), data={"problems": problems})
