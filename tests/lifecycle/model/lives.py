"""A small pure model of what tenants have and what verbs make of it: no database, no daemon.

It knows where things stand when all is quiet: who is there, where, with which runs, secrets and
tokens. A verb that is refused raises `Refused`, and has changed nothing.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

ERASED = "(erased)"
"""What is read of what was sealed with a key that is destroyed."""


class Refused(Exception):
    """The verb is not done; the only argument is the code that tells why."""


@dataclass
class Run:
    """One run: its workflow, and how it has ended, if it has. `heard` is what was signalled."""

    workflow: str
    state: str = "live"
    output: str | None = None
    heard: str | None = None
    sealed: bool = False

    def settle(self, label: str) -> None:
        """Let it end, if it can."""
        if self.state != "live":
            return
        match self.workflow:
            case "tell":
                self.state, self.output = "succeeded", label
            case "fail":
                self.state = "failed"
            case "listen" if self.heard is not None:
                self.state, self.output = "succeeded", self.heard


@dataclass
class Content:
    """What is copied of a tenant: what its schema holds."""

    runs: dict[str, Run] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    paused: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether a run has not ended."""
        return any(run.state == "live" for run in self.runs.values())

    def copy(self, runs: str) -> Content:
        """Return what an archive with these `runs` has of it."""
        copied = deepcopy(self)
        wanted = {"none": (), "finished": ("succeeded", "failed"), "all": None}[runs]
        if wanted is not None:
            copied.runs = {k: run for k, run in copied.runs.items() if run.state in wanted}
        return copied

    def erase(self) -> None:
        """Destroy the keys of what is sealed here."""
        self.secrets = dict.fromkeys(self.secrets, ERASED)
        for run in self.runs.values():
            if run.sealed:
                run.output = run.output and ERASED

    @property
    def stuck(self) -> bool:
        """Whether a run has not ended whose input nobody can read any more."""
        return any(run.sealed and run.state == "live" for run in self.runs.values())


@dataclass
class Life:
    """One tenant; `kept` is where its copy of before a move is, and what that holds.

    Nothing, when a confirmation has dropped the copy, and got no further.
    `number` tells it from a former one of its id, and keys are a tenant's.
    """

    number: int
    state: str = "registered"
    shard: str = "control"
    source: str = "api"
    disabled: bool = False
    sealed: bool = False
    content: Content = field(default_factory=Content)
    tokens: int = 0
    aliases: set[str] = field(default_factory=set)
    kept: tuple[str, Content | None] | None = None

    def settle(self) -> None:
        """Let runs end that can."""
        if self.state == "provisioned" and not (self.disabled or self.content.paused):
            for label, run in self.content.runs.items():
                run.settle(label)


@dataclass
class Archive:
    """An archive that somebody keeps: of which tenant, as it was, which needs that one's keys."""

    of: str
    life: Life
    erased: bool = False


@dataclass
class Model:
    """All tenants, by id, the ids that files declare, and the archives that somebody keeps.

    `former` has those that were deleted under an id, whose keys are there until that is erased,
    `keyed` are the ids for which keys were ever made, `left` those of which the node has archives
    that were kept when they were deleted.
    """

    lives: dict[str, Life] = field(default_factory=dict)
    former: dict[str, set[int]] = field(default_factory=dict)
    born: int = 0
    in_files: set[str] = field(default_factory=set)
    archives: list[Archive] = field(default_factory=list)
    keyed: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    def number(self) -> int:
        """Return the number of a tenant that begins."""
        self.born += 1
        return self.born

    # -- who is there ------------------------------------------------------------------

    def id_of(self, name: str) -> str:
        """Return the id of the tenant that has the name, or the name."""
        if name in self.lives:
            return name
        found = [id for id, each in self.lives.items() if name in each.aliases]
        return next(
            (id for id in found if self.lives[id].state != "archived"), (found or [name])[0]
        )

    def taken(self, name: str) -> bool:
        """Tell whether somebody has the name; of an archived tenant only the id is taken."""
        others = (each for each in self.lives.values() if each.state != "archived")
        return name in self.lives or any(name in each.aliases for each in others)

    def is_served(self, id: str) -> bool:
        """Tell whether a tenant is not one that a file has declared, and does no more."""
        return self.lives[id].source == "api" or id in self.in_files

    def found(self, name: str, *, served: bool = True) -> Life:
        """Return the tenant of that name; Refused when it has to be `served`, and is not."""
        id = self.id_of(name)
        life = self.lives.get(id)
        if life is None or (served and life.state != "archived" and not self.is_served(id)):
            raise Refused("tenant_not_found")
        return life

    def usable(self, name: str, *, enabled: bool = False, served: bool = True) -> Life:
        """Return a tenant that is no file, and takes work if it has to be `enabled`."""
        life = self.found(name, served=served)
        if life.state == "archived":
            raise Refused("tenant_archived")
        if enabled and life.disabled:
            raise Refused("tenant_suspended")
        return life

    def used(self, name: str, *, enabled: bool = False) -> Life:
        """Return such a tenant, which has tables from now on."""
        life = self.usable(name, enabled=enabled)
        life.state = "provisioned"
        return life

    def settle(self) -> None:
        """Let happen what follows."""
        for id, life in self.lives.items():
            if self.is_served(id):
                life.settle()
