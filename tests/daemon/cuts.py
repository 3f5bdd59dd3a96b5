"""Where each verb is cut: the locks at which it stands still when the daemon is killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.model.ids import CONTROL_SCHEMA
from tests.daemon import verbs
from tests.daemon.verbs import VERBS, Step, Verb

LOCK_ROW = (
    "INSERT INTO insula.lock (name) VALUES ('tenant {tenant}')"
    " ON CONFLICT (name) DO UPDATE SET name = excluded.name"
)
"""Where every verb begins that makes, renames or drops what a tenant has."""

REGISTRY_ROW = "SELECT FROM insula.tenant WHERE id = '{tenant}' FOR UPDATE"
WAKE_ROW = "SELECT FROM insula.wake WHERE tenant = '{tenant}' FOR UPDATE"
"""What a transaction comes to last that renames or drops a tenant."""

NEW_SCHEMA = "CREATE SCHEMA tenant_{tenant}"
KEPT_SCHEMA = "CREATE SCHEMA moved_{tenant}"
"""Another transaction makes the same, and is not over. A move gives what it keeps its name last."""

ROLE = "ALTER ROLE {prefix}_e_{tenant} CONNECTION LIMIT 4"
TALLY = "LOCK TABLE tenant_{tenant}.tally IN ACCESS EXCLUSIVE MODE"
TALLY_IN_USE = "LOCK TABLE tenant_{tenant}.tally IN ROW EXCLUSIVE MODE"
TOKENS = "LOCK TABLE insula.token IN EXCLUSIVE MODE"
RUNS_IN_USE = "LOCK TABLE tenant_{tenant}.wf_run IN ROW SHARE MODE"
RUNS = "LOCK TABLE tenant_{tenant}.wf_run IN EXCLUSIVE MODE"
SECRETS = "LOCK TABLE tenant_{tenant}.wf_secret IN ACCESS EXCLUSIVE MODE"
SEQUENCE = "ALTER SEQUENCE tenant_{tenant}.number RENAME TO renamed"
"""What is read last of all when a tenant is copied."""

KEPT_IN_USE = "LOCK TABLE moved_{tenant}.tally IN ROW EXCLUSIVE MODE"
ENGINE = (
    "LOCK TABLE tenant_{tenant}.wf_run, tenant_{tenant}.wf_pause, tenant_{tenant}.wf_schedule"
    " IN EXCLUSIVE MODE"
)

ROOM = {
    "moves": 1,
    "archives": 2,
    "lifecycle": 2,
    "making": 2,
    "control": 2,
    "registry": 1,
    "names": 1,
    "adoption": 2,
    "migration": 1,
    "engine": 100,
    "maintenance": 1,
    "tokens": 2,
}
"""So many of a kind get that far at a time, in this order; the last ones wait for a lock briefly.

One that stands in the registry keeps all from it, and who looks at the names of all waits behind.
"""


@dataclass(frozen=True)
class Cut:
    """A verb on a tenant of its own, or one that it shares, and the lock where it stands still.

    What has no lock of its own stands behind one that has, within the daemon.
    """

    tenant: str
    operation: str
    lock: str | None
    room: tuple[str, ...]
    ready: Step
    ask: Step
    on_shard: bool = False

    @property
    def verb(self) -> Verb:
        """What is cut."""
        return VERBS[self.operation]

    @property
    def afterwards(self) -> str:
        """What the tenant is called when it was done."""
        return verbs.renamed(self.tenant) if self.operation == "tenant.rename" else self.tenant


def _cut(
    tenant: str,
    operation: str,
    lock: str | None,
    *room: str,
    ready: Step | None = None,
    ask: Step | None = None,
    on_shard: bool = False,
) -> Cut:
    verb = VERBS[operation]
    return Cut(tenant, operation, lock, room, ready or verb.ready, ask or verb.ask, on_shard)


CUTS = (
    # Two verbs of tokens are done at a time; the others stand behind them.
    _cut("token_revoke", "token.revoke", TOKENS, "control"),
    _cut(CONTROL_SCHEMA, "admin_token.revoke", TOKENS, "control"),
    _cut(CONTROL_SCHEMA, "admin_token.create", None, "tokens"),
    _cut("token_create", "token.create", None, "tokens"),
    _cut(
        "move_confirm",
        "tenant.move",
        KEPT_IN_USE,
        *("moves", "lifecycle", "control"),
        ready=verbs.moved,
        ask=verbs.lifecycle("confirm_move"),
    ),
    _cut("create_begin", "tenant.create", None, "names"),
    _cut("update_begin", "tenant.update", None, "names"),
    _cut("disable_begin", "tenant.disable", REGISTRY_ROW, "control"),
    _cut("enable_begin", "tenant.enable", REGISTRY_ROW, "control"),
    _cut("provision_middle", "tenant.provision", NEW_SCHEMA, "making", "control"),
    _cut("provision_end", "tenant.provision", REGISTRY_ROW, "making", "control"),
    _cut("credentials_middle", "tenant.credentials", NEW_SCHEMA, "making", "control"),
    _cut("rotate_begin", "tenant.rotate_credentials", LOCK_ROW, "making", "control"),
    _cut("rotate_middle", "tenant.rotate_credentials", ROLE, "making", "control"),
    _cut("secret_set", "secret.set", SECRETS, "control"),
    _cut("secret_delete", "secret.delete", SECRETS, "control"),
    _cut("rotate_key", "tenant.rotate_key", SECRETS, "control"),
    _cut("dead_discard", "dead.discard", RUNS, "control"),
    _cut("rename_middle", "tenant.rename", RUNS_IN_USE, "lifecycle"),
    _cut("rename_end", "tenant.rename", WAKE_ROW, "lifecycle", "registry", "names"),
    _cut("delete_middle", "tenant.delete", RUNS_IN_USE, "lifecycle"),
    _cut("delete_end", "tenant.delete", WAKE_ROW, "lifecycle"),
    _cut("erase_end", "tenant.erase", WAKE_ROW, "lifecycle"),
    _cut("archive_end", "tenant.archive", WAKE_ROW, "lifecycle"),
    _cut(
        "archive_middle",
        "tenant.archive",
        SEQUENCE,
        *("lifecycle", "archives"),
        ready=verbs.with_sequence,
    ),
    _cut("unarchive_end", "tenant.unarchive", REGISTRY_ROW, "archives", "registry"),
    _cut("backup_middle", "tenant.backup", TALLY, "archives"),
    _cut("export_middle", "tenant.export", TALLY, "archives"),
    _cut(
        "clone_end",
        "tenant.clone",
        REGISTRY_ROW,
        *("archives", "registry"),
        ready=verbs.template_and_row,
    ),
    _cut("import_middle", "tenant.import", TALLY, "archives"),
    _cut("restore_middle", "tenant.restore", NEW_SCHEMA, "archives"),
    _cut(
        "restore_end",
        "tenant.restore",
        REGISTRY_ROW,
        *("archives", "registry"),
        ready=verbs.template_and_row,
    ),
    _cut("move_begin", "tenant.move", TALLY_IN_USE, "moves"),
    _cut("move_middle", "tenant.move", NEW_SCHEMA, "moves", on_shard=True),
    _cut("move_end", "tenant.move", KEPT_SCHEMA, "moves"),
    _cut(
        "move_back",
        "tenant.move",
        KEPT_IN_USE,
        "moves",
        ready=verbs.moved,
        ask=verbs.lifecycle("move_back"),
    ),
    # On a shard the registry's transaction ends first, and the shard's a moment later.
    _cut(
        "restore_shard",
        "tenant.restore",
        NEW_SCHEMA,
        "archives",
        ask=verbs.restore_on_shard,
        on_shard=True,
    ),
    _cut(
        "restore_shard_end",
        "tenant.restore",
        REGISTRY_ROW,
        *("archives", "registry"),
        ready=verbs.template_and_row,
        ask=verbs.restore_on_shard,
    ),
    _cut(
        "clone_shard",
        "tenant.clone",
        NEW_SCHEMA,
        "archives",
        ask=verbs.clone_on_shard,
        on_shard=True,
    ),
    _cut(
        "unarchive_shard",
        "tenant.unarchive",
        NEW_SCHEMA,
        "archives",
        ready=verbs.archived_on_shard,
        on_shard=True,
    ),
    *(
        _cut(
            f"{name}_shard",
            f"tenant.{name}",
            RUNS_IN_USE,
            "lifecycle",
            ready=verbs.on_shard,
            on_shard=True,
        )
        for name in ("rename", "delete", "archive")
    ),
    _cut(
        "rename_shard_end",
        "tenant.rename",
        WAKE_ROW,
        *("lifecycle", "registry", "names"),
        ready=verbs.on_shard,
    ),
    _cut("adopt_middle", "tenant.adopt", NEW_SCHEMA, "control", "adoption"),
    _cut("adopt_end", "tenant.adopt", REGISTRY_ROW, "control", "adoption"),
    _cut("migrate_middle", "tenant.migrate", TALLY_IN_USE, "migration"),
    _cut("maintain_middle", "tenant.maintain", TALLY, "maintenance"),
    _cut("runs", "run.cancel", ENGINE, "engine"),
    *(
        _cut("runs", operation, None, "engine")
        for operation in (
            *("run.pause", "run.resume", "run.retry", "run.repeat", "dead.replay"),
            *("tenant.pause", "tenant.resume"),
            *("schedule.pause", "schedule.resume", "schedule.fire"),
        )
    ),
)


def rounds(cuts: Iterable[Cut]) -> list[list[Cut]]:
    """Return the cuts as few kills can make them, those of each in the order of their rooms.

    The first ones come last: tenants that are used after a migration get it, which takes a while.
    """
    found: list[list[Cut]] = []
    for cut in cuts:
        members = next((each for each in found if _fits(cut, each)), None)
        if members is None:
            members = []
            found.append(members)
        members.append(cut)
    order = list(ROOM)
    return [
        sorted(members, key=lambda cut: max(order.index(each) for each in cut.room))
        for members in reversed(found)
    ]


def _fits(cut: Cut, members: Iterable[Cut]) -> bool:
    used = Counter(room for each in members for room in each.room)
    return all(used[room] < ROOM[room] for room in cut.room)
