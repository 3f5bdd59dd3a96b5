"""A state directory that is full: one clear error, nothing half-done, and the tenant goes on."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import StorageFailed
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from orchestrator.store.control import tenants
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives, lifecycle
from tests.support.database import Database
from tests.support.disks import small_disk

ACME = TenantId("acme")
LARGE = """
CREATE TABLE tenant_acme.large AS SELECT gen_random_uuid() AS id FROM generate_series(1, 30000);
UPDATE tenant_acme.wf_run
SET output = (SELECT to_json(string_agg(id::text, '')) FROM tenant_acme.large)
"""


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Yield a state directory with less room than the tenant takes, and with a file in it."""
    with small_disk(tmp_path / "state", "512k") as place:
        (place / "archives").mkdir()
        (place / "archives" / "before.tar").write_bytes(b"an older one")
        yield place


def verbs(node: Node, state_dir: Path) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return what writes into the state directory."""
    copies, whole = archives(node, state_dir), lifecycle(node, state_dir)

    async def restore() -> None:
        with await copies.spool() as spool:
            for _ in range(100):
                await copies.keep(spool, os.urandom(100_000))

    return {
        "backup": lambda: copies.backup(ACME, runs="all"),
        "clone": lambda: copies.clone(ACME, TenantId("copy"), runs="none", report=unheard),
        "export": lambda: copies.export(ACME, kind="csv", unsealed=False),
        "restore": restore,
        "archive": lambda: whole.archive(ACME),
        "delete": lambda: whole.delete(ACME, keep=True),
    }


@pytest.mark.slow
async def test_what_finds_no_room_says_so_and_changes_nothing(
    database: Database, full: Path
) -> None:
    async with running_node(database, snapshot([])) as node:
        await node.tenants.register(CreateTenant(id="acme"))
        await node.submit("acme")
        await node.until_finished("acme", 1)
        await (await database.connect()).execute(LARGE)
        for number, (name, verb) in enumerate(verbs(node, full).items(), start=2):
            with pytest.raises(StorageFailed, match="No space left on device") as refused:
                await verb()
            assert refused.value.hint, name
            assert files(full) == {"archives/before.tar": b"an older one"}, name
            async with node.control.acquire() as connection:
                row = await tenants.fetch(connection, ACME)
            assert (row.state, row.held_for, row.results) == ("provisioned", None, None), name
            await node.submit("acme")
            await node.until_finished("acme", number)


def files(directory: Path) -> dict[str, bytes]:
    """Return what is in a directory."""
    found = [each for each in directory.rglob("*") if each.is_file()]
    return {str(each.relative_to(directory)): each.read_bytes() for each in found}
