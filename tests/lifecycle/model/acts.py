"""What can be done to tenants: how the API is asked for it, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from orchestrator import Client
from orchestrator.client.client import TenantClient
from tests.lifecycle.model import changes
from tests.lifecycle.model.lives import Model

NAMES = ("acme", "globex", "initech")
SHARDS = ("control", "eu", "us")
ANYWHERE = (None, *SHARDS)
RUNS = ("none", "finished", "all")
MOSTLY = 21
WORKFLOWS = ("tell", "listen", "fail")


@dataclass(frozen=True)
class Act:
    """One thing that is done to a tenant, by node `via`; `to` is another name.

    `on` chooses the tenant among those there are, or seldom a name; `more` chooses among what the
    verb offers. At wait `cut` of the verb, counted from 1, its node loses all connections; if it
    `dies` of it, another one takes its place, else they come back.
    """

    verb: str
    on: int
    to: str
    more: int
    via: int
    cut: int = 0
    dies: bool = False


@dataclass
class Asked:
    """An act with the API of its node, the model as it is, and a directory for archives."""

    act: Act
    name: str
    client: Client
    model: Model
    directory: Path
    reload: Callable[[set[str]], Awaitable[object]]
    label: str = ""
    run: Any = None
    heard: str = ""

    @staticmethod
    def named(act: Act, model: Model) -> str:
        """Return the tenant that an act is about, by its id or an alias, or a name of nobody."""
        there = [*model.lives, *(each for life in model.lives.values() for each in life.aliases)]
        if act.on < MOSTLY and there and act.verb != "register":
            return sorted(there)[act.on % len(there)]
        return NAMES[act.on % len(NAMES)]

    @property
    def tenant(self) -> TenantClient:
        """The tenant that it is about."""
        return self.client.tenant(self.name)

    def chosen(self, choices: tuple[Any, ...]) -> Any:
        """Return what `more` chooses."""
        return choices[self.act.more % len(choices)]

    @property
    def forced(self) -> bool:
        """Whether unfinished runs are no reason to refuse."""
        return self.act.more % 2 == 1

    @property
    def shard(self) -> str | None:
        """Where to, if that is said."""
        return ANYWHERE[self.act.more // 2 % len(ANYWHERE)]

    def archive(self, number: int) -> Path:
        """Return the path of an archive."""
        return self.directory / f"{number}.tar"


@dataclass(frozen=True)
class Verb:
    """How a verb is asked for, what the model makes of it, and how the audit calls it.

    `may` tells whether there is something to do it to. One of the `engine` is not cut here: what
    becomes of it then is the matter of the engine's own model.
    """

    operation: str
    ask: Callable[[Asked], Awaitable[object]]
    apply: Callable[[Asked, Model], None]
    may: Callable[[Asked], bool] = field(default=lambda _: True)
    engine: bool = False


def _start(asked: Asked) -> Awaitable[object]:
    label = asked.label
    return asked.tenant.start(asked.chosen(WORKFLOWS), {"label": label}, key=label)


def _revoke_all(asked: Asked) -> Awaitable[object]:
    async def revoke() -> None:
        for each in await asked.tenant.tokens.list():
            await asked.tenant.tokens.revoke(each.id)

    return revoke()


def _backup(asked: Asked) -> Awaitable[object]:
    return asked.tenant.archives.backup(asked.archive(len(asked.model.archives)))


def _number(asked: Asked) -> int:
    return asked.act.more // len(ANYWHERE) % len(asked.model.archives)


def _restore(asked: Asked) -> Awaitable[object]:
    number = _number(asked)
    of = asked.model.archives[number].of
    return asked.tenant.archives.restore(asked.archive(number), of=of, to=asked.shard)


def _stays_moved(asked: Asked) -> bool:
    """Tell whether no reload undoes it: where one without tables lives, its file says again."""
    life = asked.model.lives.get(asked.model.id_of(asked.name))
    return life is None or life.source == "api" or life.state != "registered"


VERBS = {
    "register": Verb(
        "tenant.create",
        lambda a: a.client.create_tenant(
            a.name, set={"shard": a.chosen(SHARDS), "encrypt_payloads": a.forced}
        ),
        lambda a, m: changes.register(m, a.name, a.chosen(SHARDS), sealed=a.forced),
    ),
    "declare": Verb(
        "",
        lambda a: a.reload(a.model.in_files | {a.model.id_of(a.name)}),
        lambda a, m: changes.declare(m, m.id_of(a.name)),
        engine=True,
    ),
    "undeclare": Verb(
        "",
        lambda a: a.reload(a.model.in_files - {a.name}),
        lambda a, m: changes.undeclare(m, a.name),
        engine=True,
    ),
    "provision": Verb(
        "tenant.provision", lambda a: a.tenant.provision(), lambda a, m: changes.use(m, a.name)
    ),
    "start": Verb(
        "",
        _start,
        lambda a, m: changes.start(m, a.name, a.chosen(WORKFLOWS), a.label),
        engine=True,
    ),
    "signal": Verb(
        "",
        lambda a: a.tenant.handle(a.run).signal("word", a.label),
        lambda a, m: changes.signal(m, a.name, a.heard, a.label),
        may=lambda a: a.run is not None,
        engine=True,
    ),
    "set_secret": Verb(
        "secret.set",
        lambda a: a.tenant.secret.set("token", a.label),
        lambda a, m: changes.set_secret(m, a.name, a.label),
    ),
    "delete_secret": Verb(
        "secret.delete",
        lambda a: a.tenant.secret.delete("token"),
        lambda a, m: changes.delete_secret(m, a.name),
    ),
    "mint": Verb(
        "token.create", lambda a: a.tenant.tokens.create(), lambda a, m: changes.mint(m, a.name)
    ),
    "disable": Verb(
        "tenant.disable",
        lambda a: a.tenant.lifecycle.disable("as the test says"),
        lambda a, m: changes.set_disabled(m, a.name, disabled=True),
    ),
    "enable": Verb(
        "tenant.enable",
        lambda a: a.tenant.lifecycle.enable(),
        lambda a, m: changes.set_disabled(m, a.name, disabled=False),
    ),
    "pause": Verb(
        "tenant.pause",
        lambda a: a.tenant.pause(),
        lambda a, m: changes.set_pause(m, a.name, paused=True),
        engine=True,
    ),
    "resume": Verb(
        "tenant.resume",
        lambda a: a.tenant.resume(),
        lambda a, m: changes.set_pause(m, a.name, paused=False),
        engine=True,
    ),
    "rotate_credentials": Verb(
        "tenant.rotate_credentials",
        lambda a: a.tenant.lifecycle.rotate_credentials(),
        lambda a, m: changes.use(m, a.name),
    ),
    "rotate_key": Verb(
        "tenant.rotate_key",
        lambda a: a.tenant.secret.rotate_key(),
        lambda a, m: changes.use(m, a.name),
    ),
    "maintain": Verb(
        "tenant.maintain",
        lambda a: a.tenant.lifecycle.maintain(),
        lambda a, m: changes.look(m, a.name),
    ),
    "rename": Verb(
        "tenant.rename",
        lambda a: a.tenant.lifecycle.rename(a.act.to, force=a.forced, alias=a.act.more % 3 > 0),
        lambda a, m: changes.rename(m, a.name, a.act.to, force=a.forced, alias=a.act.more % 3 > 0),
    ),
    "delete": Verb(
        "tenant.delete",
        lambda a: a.tenant.lifecycle.delete(keep_results=a.act.more % 3 > 0, force=a.forced),
        lambda a, m: changes.delete(m, a.name, force=a.forced, keep=a.act.more % 3 > 0),
    ),
    "erase": Verb(
        "tenant.erase",
        lambda a: a.tenant.lifecycle.erase(force=a.forced),
        lambda a, m: changes.erase(m, a.name, force=a.forced),
    ),
    "archive": Verb(
        "tenant.archive",
        lambda a: a.tenant.archives.archive(force=a.forced),
        lambda a, m: changes.archive(m, a.name, force=a.forced),
    ),
    "unarchive": Verb(
        "tenant.unarchive",
        lambda a: a.tenant.archives.unarchive(to=a.shard),
        lambda a, m: changes.unarchive(m, a.name, a.shard),
    ),
    "backup": Verb("tenant.backup", _backup, lambda a, m: changes.backup(m, a.name)),
    "restore": Verb(
        "tenant.restore",
        _restore,
        lambda a, m: changes.restore(m, _number(a), a.name, a.shard),
        may=lambda a: bool(a.model.archives),
    ),
    "clone": Verb(
        "tenant.clone",
        lambda a: a.tenant.archives.clone(a.act.to, runs=a.chosen(RUNS), to=a.shard),
        lambda a, m: changes.clone(m, a.name, a.act.to, a.chosen(RUNS), a.shard),
    ),
    "move": Verb(
        "tenant.move",
        lambda a: a.tenant.lifecycle.move(a.shard or "eu", force=a.forced),
        lambda a, m: changes.move(m, a.name, a.shard or "eu", force=a.forced),
        may=_stays_moved,
    ),
    "confirm": Verb(
        "tenant.move",
        lambda a: a.tenant.lifecycle.confirm_move(),
        lambda a, m: changes.confirm(m, a.name),
    ),
    "back": Verb(
        "tenant.move",
        lambda a: a.tenant.lifecycle.move_back(force=a.forced),
        lambda a, m: changes.back(m, a.name, force=a.forced),
    ),
}
"""By what an act calls them."""

_OFTEN = ("start", "start", "set_secret", "move", "back", "rename", "archive", "unarchive", "clone")
_CUTS = st.one_of(st.just(0), st.integers(1, 12), st.integers(1, 90), st.integers(40, 400))


def acts(*verbs: str) -> st.SearchStrategy[Act]:
    """Return acts; in half of them the connections of the node are cut."""
    return st.builds(
        Act,
        st.sampled_from(verbs),
        st.integers(0, 23),
        st.sampled_from(NAMES),
        st.integers(0, 63),
        st.integers(0, 1),
        _CUTS,
        st.booleans(),
    )


SCRIPT = st.builds(
    lambda first, more: [*first, *more],
    st.lists(acts("register"), min_size=1, max_size=2),
    st.lists(acts(*VERBS, *_OFTEN), min_size=4, max_size=10),
)
