"""What an erasure leaves of a tenant elsewhere: as docs/how-to/erase-a-tenant.md says."""

from __future__ import annotations

from pathlib import Path

from orchestrator.daemon.secrets import TenantSecrets
from orchestrator.http.audit import Record
from orchestrator.model.api import CreateTenant
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import Connection
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.test_payloads import REGISTRY
from tests.support.database import Database
from tests.support.dump import dump

ACME = TenantId("acme")


async def lived(node: Node, directory: Path) -> None:
    """Have tenant acme say of itself all that a tenant can."""
    request = CreateTenant(
        id="acme",
        name="its name",
        aliases=["its-alias"],
        set={
            "schedules": [
                {
                    "name": "its_schedule",
                    "workflow": "echo",
                    "cron": "0 9 * * *",
                    "input": {"text": "its scheduled input"},
                }
            ],
        },
    )
    await node.tenants.register(request)
    record = Record(node.audit, "ann")
    secrets = TenantSecrets(node.ground.shards, node.tenants)
    async with record.of(ACME, "secret.set", "its_secret"):
        await secrets.put(ACME, "its_secret", "its value")
    await node.submit("acme", "echo", key="its key", text="its input")
    await node.until_finished("acme", 1)
    whole = lifecycle(node, directory)
    async with record.of(ACME, "tenant.disable", "its reason"):
        await whole.disable(ACME, "its reason")


async def tables_with(connection: Connection, text: str) -> list[str]:
    """Return the tables that a text stands in, in any row."""
    table, found = "", []
    for line in (await dump(connection)).splitlines():
        if line.startswith(("insula.", "tenant_")) and "\t" not in line:
            table = line
        elif text in line:
            found.append(table)
    return sorted(set(found))


STAYS = {
    "acme": ["audit", "lease", "lock", "tenant", "tenant_key", "usage"],
    "ann": ["audit"],
    "its_secret": ["audit"],
    "its reason": ["audit"],
}
"""What of it stands in which tables of the control schema afterwards."""

FILES_GO = ("archives/acme-1.tar.part", "results/acme-2.jsonl.gz.part")
FILES_STAY = ("archives/globex-1.tar.part", "results/acme-0.jsonl.gz")

GOES = ("its name", "its-alias", "its_schedule", "its scheduled input", "its key", "its input")


async def test_of_an_erased_tenant_there_is_its_id_and_what_the_audit_was_told(
    database: Database, tmp_path: Path
) -> None:
    for name in (*FILES_GO, *FILES_STAY):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    async with running_node(database, snapshot([]), registry=REGISTRY) as node:
        await lived(node, tmp_path)
        admin = await database.connect()
        before = {text: await tables_with(admin, text) for text in (*STAYS, *GOES)}
        await lifecycle(node, tmp_path).erase("acme", force=True)

    assert all(before.values())
    assert {text: await tables_with(admin, text) for text in (*STAYS, *GOES)} == {
        **{text: [f"insula.{table}" for table in tables] for text, tables in STAYS.items()},
        **{text: [] for text in GOES},
    }
    kept = await admin.fetchrow("SELECT declaration, limits, disabled_because FROM insula.tenant")
    assert kept is not None
    assert tuple(kept) == ("{}", None, "")
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))  # noqa: ASYNC240
    assert files == list(FILES_STAY)
