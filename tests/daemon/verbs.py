"""Every verb that changes a tenant: how it is asked for, and how a tenant comes to where it begins.

A test compares this table with the routes, the command line and the guides: see tests/rules.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from orchestrator import Client
from orchestrator.client.client import TenantClient
from orchestrator.model.migration import MigrateTenants
from orchestrator.store.connect import Connection

YEARLY = {"schedules": [{"name": "yearly", "workflow": "count", "cron": "0 0 1 1 *"}]}


@dataclass
class Stage:
    """What the verbs are done with and to; `runs` are those of the tenant that has them.

    `client` is another one for each daemon.
    """

    client: Client
    admin: Connection
    directory: Path
    runs: dict[str, UUID] = field(default_factory=dict)

    @property
    def migrations(self) -> Path:
        """The migrations of the application."""
        return self.directory / "migrations"

    def tenant(self, id: str) -> TenantClient:
        """Return the client of a tenant."""
        return self.client.tenant(id)

    def file(self, name: str) -> Path:
        """Return a path for what is written here."""
        return self.directory / name


Step = Callable[[Stage, str], Awaitable[object]]
"""Something that is done for the tenant of that id."""


# -- how a tenant comes to where a verb begins -------------------------------------------


async def absent(stage: Stage, tenant: str) -> None:
    """Leave it to the verb to make the tenant."""


async def registered(stage: Stage, tenant: str) -> None:
    """Have a tenant that nobody has used."""
    await stage.client.create_tenant(tenant)


async def provisioned(stage: Stage, tenant: str) -> None:
    """Have a tenant with tables, and with a schedule."""
    await stage.client.create_tenant(tenant, set=YEARLY)
    await stage.tenant(tenant).provision()


async def on_shard(stage: Stage, tenant: str) -> None:
    """Have such a tenant on the shard."""
    await stage.client.create_tenant(tenant, set=YEARLY | {"shard": "eu"})
    await stage.tenant(tenant).provision()


async def archived_on_shard(stage: Stage, tenant: str) -> None:
    """Have a tenant that is a file, and was on the shard."""
    await on_shard(stage, tenant)
    await stage.tenant(tenant).archives.archive()


async def disabled(stage: Stage, tenant: str) -> None:
    """Have a tenant that takes no work."""
    await provisioned(stage, tenant)
    await stage.tenant(tenant).lifecycle.disable()


async def archived(stage: Stage, tenant: str) -> None:
    """Have a tenant that is a file."""
    await provisioned(stage, tenant)
    await stage.tenant(tenant).archives.archive()


async def moved(stage: Stage, tenant: str) -> None:
    """Have a tenant on the shard, of which a copy is kept."""
    await provisioned(stage, tenant)
    await stage.tenant(tenant).lifecycle.move("eu")


async def with_secret(stage: Stage, tenant: str) -> None:
    """Have a tenant that keeps a secret."""
    await provisioned(stage, tenant)
    await stage.tenant(tenant).secret.set("token", "s3cret")


async def with_token(stage: Stage, tenant: str) -> None:
    """Have a tenant that nobody has used, and a token of it."""
    await registered(stage, tenant)
    await stage.tenant(tenant).tokens.create()


async def with_admin_token(stage: Stage, _: str) -> None:
    """Have a token of the installation."""
    await stage.client.tokens.create()


async def with_sequence(stage: Stage, tenant: str) -> None:
    """Have a tenant that counts something."""
    await provisioned(stage, tenant)
    await stage.admin.execute(f"CREATE SEQUENCE tenant_{tenant}.number")


async def with_legacy(stage: Stage, tenant: str) -> None:
    """Have a tenant that nobody has used, and a schema that it can take over."""
    await registered(stage, tenant)
    text = "".join(each.read_text("utf-8") for each in sorted(stage.migrations.glob("*.sql")))
    names = f"CREATE SCHEMA legacy_{tenant}; SET LOCAL search_path = legacy_{tenant};"
    await stage.admin.execute(names + text)


async def template(stage: Stage, tenant: str) -> None:
    """Have a tenant to be copied, and its archive."""
    if not stage.file("template.tar").exists():
        await provisioned(stage, "template")
        await stage.tenant("template").archives.backup(stage.file("template.tar"))


async def template_and_row(stage: Stage, tenant: str) -> None:
    """Have them, and the tenant that is made: nobody has used it."""
    await template(stage, tenant)
    await registered(stage, tenant)


async def with_export(stage: Stage, tenant: str) -> None:
    """Have an export with a row, and a tenant that lacks it."""
    await provisioned(stage, tenant)
    row = f"INSERT INTO tenant_{tenant}.tally VALUES (gen_random_uuid(), 'imported', 1)"
    await stage.admin.execute(row)
    await stage.tenant(tenant).archives.export(stage.file(f"{tenant}.export"))
    await stage.admin.execute(f"DELETE FROM tenant_{tenant}.tally")


async def with_runs(stage: Stage, tenant: str) -> None:
    """Have one tenant with a run for each verb of runs."""
    if stage.runs:
        return
    await provisioned(stage, tenant)
    client = stage.tenant(tenant)
    for name in ("cancel", "pause", "resume", "repeat"):
        stage.runs[name] = (await client.start("count", delay="1h")).id
    await client.handle(stage.runs["resume"]).pause()
    for name in ("retry", "replay"):
        stage.runs[name] = await _failed(client)
    await client.schedule("yearly").pause()


async def with_dead_letter(stage: Stage, tenant: str) -> None:
    """Have a tenant with a run that has failed."""
    await provisioned(stage, tenant)
    await _failed(stage.tenant(tenant))


async def _failed(client: TenantClient) -> UUID:
    run = await client.start("hold", {"arrived": "/nowhere/file", "leave": "/nowhere/file"})
    await run.result(timeout=30)
    return run.id


# -- the verbs ---------------------------------------------------------------------------


def lifecycle(verb: str, *arguments: Any, **options: Any) -> Step:
    """Return a verb of `TenantLifecycle`."""
    return lambda stage, tenant: getattr(stage.tenant(tenant).lifecycle, verb)(
        *arguments, **options
    )


def plain(verb: str, *arguments: Any) -> Step:
    """Return a verb of `TenantClient`."""
    return lambda stage, tenant: getattr(stage.tenant(tenant), verb)(*arguments)


def secret(verb: str, *arguments: Any) -> Step:
    """Return a verb of `TenantSecrets`."""
    return lambda stage, tenant: getattr(stage.tenant(tenant).secret, verb)(*arguments)


def schedule(verb: str) -> Step:
    """Return a verb of `ScheduleHandle`."""
    return lambda stage, tenant: getattr(stage.tenant(tenant).schedule("yearly"), verb)()


def run(verb: str) -> Step:
    """Return a verb of `RunHandle`."""
    return lambda stage, tenant: getattr(stage.tenant(tenant).handle(stage.runs[verb]), verb)()


async def rename(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).lifecycle.rename(renamed(tenant))


def renamed(tenant: str) -> str:
    """Return what a tenant is called after its renaming."""
    return f"new_{tenant}"


async def archive(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).archives.archive()


async def unarchive(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).archives.unarchive()


async def backup(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).archives.backup(stage.file(f"{tenant}.tar"))


async def export(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).archives.export(stage.file(f"{tenant}.export"))


async def import_(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).archives.add(stage.file(f"{tenant}.export"))


async def restore(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).archives.restore(stage.file("template.tar"), of="template")


async def restore_on_shard(stage: Stage, tenant: str) -> None:
    file = stage.file("template.tar")
    await stage.tenant(tenant).archives.restore(file, of="template", to="eu")


async def clone(stage: Stage, tenant: str) -> None:
    await stage.tenant("template").archives.clone(tenant)


async def clone_on_shard(stage: Stage, tenant: str) -> None:
    await stage.tenant("template").archives.clone(tenant, to="eu")


async def mint(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).tokens.create()


async def revoke(stage: Stage, tenant: str) -> None:
    (token,) = await stage.tenant(tenant).tokens.list()
    await stage.tenant(tenant).tokens.revoke(token.id)


async def revoke_admin(stage: Stage, _: str) -> None:
    token = (await stage.client.tokens.list())[-1]
    await stage.client.tokens.revoke(token.id)


async def adopt(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).lifecycle.adopt(f"legacy_{tenant}")


async def replay(stage: Stage, tenant: str) -> None:
    await stage.tenant(tenant).replay([stage.runs["replay"]])


async def migrate(stage: Stage, tenant: str) -> None:
    """Bring a tenant to the migrations as they are now, of which there is one more."""
    (stage.migrations / "0002_note.sql").write_text("ALTER TABLE tally ADD note text;")
    report = await stage.client.migrate(MigrateTenants(tenants=[tenant]))
    assert report.failed == []


# -- the table ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Verb:
    """One verb: its route's handler, its command, and how the tests ask for it.

    `ready` makes a tenant for it, and `after` makes one that can be used of what it leaves. `done`
    are the codes that tell who asks again that it was done. A `command` is None for what has none.
    """

    route: str
    command: str | None
    ask: Step
    ready: Step = provisioned
    after: Step = absent
    done: frozenset[str] = frozenset()


def _verb(
    route: str, command: str | None, ask: Step, ready: Step = provisioned, **more: Any
) -> Verb:
    done = frozenset(more.pop("done", "").split())
    return Verb(route, command, ask, ready, done=done, **more)


_CONFLICT = "run_conflict"

VERBS = {
    "tenant.create": _verb(
        "create_tenant", "tenant create", registered, absent, done="tenant_exists"
    ),
    "tenant.update": _verb("update_tenant", "tenant update", lifecycle("update", name="Initech")),
    "tenant.disable": _verb(
        "disable_tenant", "tenant disable", lifecycle("disable"), after=lifecycle("enable")
    ),
    "tenant.enable": _verb("enable_tenant", "tenant enable", lifecycle("enable"), disabled),
    "tenant.provision": _verb("provision_tenant", None, plain("provision"), registered),
    "tenant.pause": _verb("pause_tenant", "tenant pause", plain("pause", "keep"), with_runs),
    "tenant.resume": _verb("resume_tenant", "tenant resume", plain("resume", "hold"), with_runs),
    "tenant.rotate_credentials": _verb(
        "rotate_credentials", "tenant rotate-credentials", lifecycle("rotate_credentials")
    ),
    "tenant.credentials": _verb(
        "hand_out_credentials", "tenant credentials", secret("credentials"), registered
    ),
    "tenant.rename": _verb("rename_tenant", "tenant rename", rename, done="tenant_not_found"),
    "tenant.delete": _verb(
        "delete_tenant",
        "tenant delete",
        lifecycle("delete", keep_results=True),
        after=registered,
        done="tenant_not_found",
    ),
    "tenant.erase": _verb(
        "erase_tenant",
        "tenant erase",
        lifecycle("erase"),
        after=registered,
        done="tenant_not_found",
    ),
    "tenant.move": _verb("move_tenant", "tenant move", lifecycle("move", "eu")),
    "tenant.maintain": _verb("maintain_tenant", "tenant maintain", lifecycle("maintain")),
    "tenant.adopt": _verb("adopt_schema", "tenant adopt", adopt, with_legacy, done="tenant_exists"),
    "tenant.migrate": _verb("migrate", "migrate", migrate),
    "tenant.backup": _verb("backup_tenant", "tenant backup", backup),
    "tenant.restore": _verb(
        "restore_tenant", "tenant restore", restore, template, done="tenant_exists"
    ),
    "tenant.clone": _verb("clone_tenant", "tenant clone", clone, template, done="tenant_exists"),
    "tenant.archive": _verb(
        "archive_tenant", "tenant archive", archive, after=unarchive, done="tenant_archived"
    ),
    "tenant.unarchive": _verb(
        "unarchive_tenant", "tenant unarchive", unarchive, archived, done="tenant_exists"
    ),
    "tenant.export": _verb("export_tenant", "tenant export", export),
    "tenant.import": _verb("import_rows", "tenant import", import_, with_export),
    "secret.set": _verb("put_secret", "tenant secret set", secret("set", "token", "s3cret")),
    "secret.delete": _verb(
        "delete_secret",
        "tenant secret delete",
        secret("delete", "token"),
        with_secret,
        done="secret_not_found",
    ),
    "token.create": _verb("create_token", "tenant token", mint, registered),
    "token.revoke": _verb("revoke_token", "token revoke", revoke, with_token),
    "admin_token.create": _verb(
        "create_admin_token", "token create", with_admin_token, with_admin_token
    ),
    "admin_token.revoke": _verb("revoke_admin_token", None, revoke_admin, with_admin_token),
    "tenant.rotate_key": _verb(
        "rotate_key", "tenant rotate-key", secret("rotate_key"), with_secret
    ),
    "run.cancel": _verb("change_run", "run cancel", run("cancel"), with_runs),
    "run.pause": _verb("change_run", "run pause", run("pause"), with_runs),
    "run.resume": _verb("change_run", "run resume", run("resume"), with_runs),
    "run.retry": _verb("change_run", "run retry", run("retry"), with_runs, done=_CONFLICT),
    "run.repeat": _verb("repeat_run", "run repeat", run("repeat"), with_runs),
    "schedule.pause": _verb("pause_schedule", "schedule pause", schedule("pause"), with_runs),
    "schedule.resume": _verb("resume_schedule", "schedule resume", schedule("resume"), with_runs),
    "schedule.fire": _verb("fire_schedule", "schedule fire", schedule("fire"), with_runs),
    "dead.replay": _verb("replay_dead", "dead replay", replay, with_runs),
    "dead.discard": _verb("discard_dead", "dead discard", plain("discard"), with_dead_letter),
}
"""By operation, as the audit calls it."""
