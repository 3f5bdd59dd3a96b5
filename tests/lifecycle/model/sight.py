"""What is to be seen of an installation: by its API, in its registry, in its databases, on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from orchestrator.daemon.archives import tenant_in
from orchestrator.lifecycle.arrival import marked
from orchestrator.model.errors import InsulaError, KeyErased
from orchestrator.model.ids import TenantId, schema_of
from orchestrator.store import sql
from orchestrator.store.control import keys
from orchestrator.store.tenant.sealing import DataKey, WrappedKey
from orchestrator.store.tenant.secrets import READ, Sealed, Stored
from tests.lifecycle.model.lives import ERASED, Model
from tests.lifecycle.model.stage import BYSTANDER, DATABASES, Server, Stage

ROWS = """
SELECT id, state, shard, moved_from, disabled_at IS NOT NULL, source, declaration::text,
       held_for, provisioned_at IS NOT NULL, archive,
       (SELECT count(*) FROM insula.token WHERE tenant = t.id)
FROM insula.tenant AS t WHERE state <> 'removed' AND id <> $1 ORDER BY id
"""
LEFT = """
SELECT 'wake ' || tenant FROM insula.wake WHERE tenant <> ALL ($1)
UNION ALL SELECT 'token ' || tenant FROM insula.token WHERE tenant <> ALL ($2)
UNION ALL SELECT 'schedule ' || tenant FROM insula.schedule WHERE tenant <> ALL ($2)
UNION ALL SELECT 'figures ' || tenant FROM insula.figures WHERE tenant <> ALL ($2)
UNION ALL SELECT 'lease ' || tenant FROM insula.lease WHERE node IS NOT NULL AND tenant <> ALL ($1)
"""
OUTCOMES = """
SELECT answered.outcome FROM insula.audit AS asked
LEFT JOIN insula.audit AS answered ON answered.answers = asked.number
WHERE asked.number > $1 AND asked.answers IS NULL AND asked.operation = $2
"""
SCHEMAS = "SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^(tenant|moved)_'"
ROLES = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1)"
TABLES = """
SELECT format('SELECT %L, md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM %s AS t',
              relname, oid::regclass)
FROM pg_class
WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND relname <> ALL ('{wf_usage,wf_fence}')
UNION ALL
SELECT format('SELECT %L, concat_ws(chr(10), state, rotation, declaration) FROM insula.tenant'
              ' WHERE id = %L', 'row', $2::text)
"""


class Sight:
    """Looks at a stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def bystander(self) -> dict[str, str | None]:
        """Return a digest of what the bystander has, but for what its owner writes unasked."""
        admin = self._stage.admin
        parts = await admin.fetch(TABLES, f"tenant_{BYSTANDER}", BYSTANDER)
        found = await admin.fetch(" UNION ALL ".join(each for (each,) in parts))
        return {row[0]: row[1] for row in found}

    async def keyed(self) -> set[str]:
        """Return the tenants, of now and of before, that have keys, or had."""
        found = await self._stage.admin.fetch("SELECT DISTINCT tenant FROM insula.tenant_key")
        return {tenant for (tenant,) in found}

    async def owner(self, tenant: str) -> Server | None:
        """Return the node that serves a tenant: the others send there who comes to them."""
        query = "SELECT node FROM insula.lease WHERE tenant = $1"
        owner = await self._stage.admin.fetchval(query, tenant)
        return next((each for each in self._stage.servers if each.node.id == owner), None)

    async def last_entry(self) -> int:
        """Return the number of the audit's last entry."""
        query = "SELECT coalesce(max(number), 0) FROM insula.audit"
        number: int = await self._stage.admin.fetchval(query)
        return number

    async def outcomes(self, since: int, operation: str) -> list[str]:
        """Return what came of an operation, each time that it was asked for since an entry."""
        return [each for (each,) in await self._stage.admin.fetch(OUTCOMES, since, operation)]

    async def resumable(self) -> bool:
        """Tell whether a tenant is being deleted."""
        query = "SELECT EXISTS (SELECT FROM insula.tenant WHERE state = 'deleting')"
        found: bool = await self._stage.admin.fetchval(query)
        return found

    async def run_ids(self, server: Server, tenant: str) -> dict[str, UUID]:
        """Return the runs of a tenant by their labels."""
        client = server.client.tenant(tenant)
        page = await client.runs(limit=100)
        views = [await client.run(each.id) for each in page.runs]
        return {str(view.key): view.id for view in views}

    async def all(self, server: Server) -> dict[str, Any]:
        """Return what is to be seen of all tenants, as `Life` has it."""
        await self._stage.look()
        rows = await self._stage.admin.fetch(ROWS, BYSTANDER)
        return {row["id"]: await self._life(server, row) for row in rows}

    async def _life(self, server: Server, row: Any) -> dict[str, Any]:
        id, state, shard, kept, disabled, source, declaration, held_for, *_ = row
        seen: dict[str, Any] = {
            "state": state if held_for is None else f"{state}, held for {held_for}",
            "shard": shard,
            "kept": kept,
            "disabled": disabled,
            "source": source,
            "tokens": row["count"],
            "aliases": sorted(msgspec.json.decode(declaration).get("aliases", [])),
        }
        served = source == "api" or id in self._stage.in_files
        if served and state in ("registered", "provisioned"):
            try:
                seen |= await self._content(server, id, row)
            except InsulaError as error:
                seen["error"] = str(error)
        return seen

    async def _content(self, server: Server, id: str, row: Any) -> dict[str, Any]:
        if row["state"] == "registered":
            return {"runs": {}, "secrets": {}}
        client = server.client.tenant(id)
        page = await client.runs(limit=100)
        views = [await client.run(each.id) for each in page.runs]
        over = ("succeeded", "failed")
        return {
            "runs": {
                str(view.key): (
                    str(view.state) if str(view.state) in over else "live",
                    view.output,
                )
                for view in views
            },
            "secrets": await self._secrets(id, row["shard"]),
        }

    async def _secrets(self, id: str, shard: str) -> dict[str, str]:
        """Return the secret of a tenant, as its own keys open it."""
        stage = self._stage
        there = await stage.place(shard, id)
        assert there is not None
        row = await there.fetchrow(sql.bind(READ, schema_of(TenantId(id))), "token")
        if shard == "us":
            await there.close()
        if row is None:
            return {}
        found = Stored(*row)
        holder = await keys.holder(stage.admin, TenantId(id))
        own = await keys.known(stage.admin, holder, stage.database.key, [found.wrapped_by])
        wrapped = WrappedKey(found.key_id, found.wrapped, found.wrapped_by)
        sealed = Sealed(found.name, found.id, found.key_id, found.sealed)
        try:
            plain = DataKey.unwrap(wrapped, own).open(sealed.sealed, sealed.bound_to).decode()
        except KeyErased:
            plain = ERASED
        return {found.name: plain}

    async def faults(self, model: Model) -> list[str]:
        """Return what there is and should not be, and what there should be and is not."""
        wanted = {
            place
            for id, life in model.lives.items()
            for place in (
                (life.shard, f"tenant_{id}") if life.state == "provisioned" else None,
                (life.kept[0], f"moved_{id}") if life.kept and life.kept[1] is not None else None,
            )
            if place is not None
        } | {("control", f"tenant_{BYSTANDER}")}
        there = await self._schemas()
        for id, life in model.lives.items():
            if life.state == "registered":  # the row is the last to know
                there -= {(life.shard, f"tenant_{id}"), (life.shard, f"nothing of {id}")}
        found = [f"{each[1]} on {each[0]}" for each in sorted(there ^ wanted)]
        found += await self._left(model)
        files = self._files(await self._stage.admin.fetch(ROWS, BYSTANDER))
        return [*found, *sorted(str(each) for each in files if tenant_in(each) not in model.left)]

    async def note_dropped(self, model: Model) -> None:
        """Note the copies of before moves that confirmations have dropped, and got no further."""
        there = await self._schemas()
        for id, life in model.lives.items():
            if life.kept is not None and (life.kept[0], f"moved_{id}") not in there:
                life.kept = (life.kept[0], None)

    async def _schemas(self) -> set[tuple[str, str]]:
        stage = self._stage
        found = {("control", name) for (name,) in await stage.admin.fetch(SCHEMAS)}
        found |= {("eu", name) for (name,) in await stage.eu.fetch(SCHEMAS)}
        prefix = stage.own_database("")
        for (name,) in await stage.admin.fetch(DATABASES, prefix):
            there = await stage.place("us", name.removeprefix(prefix))
            assert there is not None
            names = [each for (each,) in await there.fetch(SCHEMAS)]
            found |= {("us", each) for each in names or [f"nothing of {name.removeprefix(prefix)}"]}
            found |= {("us", f"mark on {each}") for each in await marked(there)}
            await there.close()
        return found | {("eu", f"mark on {each}") for each in await marked(stage.eu)}

    async def _left(self, model: Model) -> list[str]:
        stage = self._stage
        tables = [id for id, life in model.lives.items() if life.state == "provisioned"]
        known = [*model.lives, BYSTANDER, "insula"]
        left = [each for (each,) in await stage.admin.fetch(LEFT, [*tables, BYSTANDER], known)]
        prefix = f"{stage.database.role_prefix}_"
        roles = {name for (name,) in await stage.admin.fetch(ROLES, prefix)}
        wanted = {f"{prefix}{kind}_{id}" for id in (*tables, BYSTANDER) for kind in "ea"}
        perhaps = {f"{prefix}{kind}_{id}" for id in model.lives for kind in "ea"} - wanted
        return [*left, *sorted((roles - perhaps) ^ wanted)]

    def _files(self, rows: list[Any]) -> set[Path]:
        archives = {Path(row["archive"]) for row in rows if row["archive"] is not None}
        every = [
            Path(at) / name for at, _, names in os.walk(self._stage.state_dir) for name in names
        ]
        there = {path for path in every if path.parent.name != "results"}
        return there ^ archives
