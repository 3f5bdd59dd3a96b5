"""A tenant that is made under the id of a former one: neither has the other's keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from orchestrator.model.api import CreateTenant
from orchestrator.model.errors import KeyErased, TenantNotFound
from orchestrator.model.ids import TenantId
from orchestrator.model.progress import unheard
from tests.supervisors.test_erasure import ACME, COPY, Sealing, sealing
from tests.supervisors.test_lifecycle import lifecycle
from tests.supervisors.test_payloads import PLAIN
from tests.support.database import Database


@asynccontextmanager
async def made_anew(database: Database, tmp_path: Path) -> AsyncIterator[tuple[Sealing, BinaryIO]]:
    """Make acme after it was deleted, with a secret; yield it and a backup of the former one."""
    async with sealing(database, tmp_path) as acme:
        with await acme.verbs.backup(ACME, runs="all") as former:
            await lifecycle(acme.node, tmp_path).delete("acme", keep=False)
            await acme.node.tenants.register(CreateTenant(id="acme"))
            await acme.secrets.put(ACME, "api_key", "of the new one")
            yield acme, former


@pytest.mark.requirement("T8.erased")
async def test_an_erasure_leaves_the_backups_of_a_former_tenant_of_the_id_and_says_so(
    database: Database, tmp_path: Path
) -> None:
    async with made_anew(database, tmp_path) as (acme, former):
        erased = await lifecycle(acme.node, tmp_path).erase("acme")

        assert (erased.keys, erased.former_keys) == (1, 1)
        await acme.restore(former)
        assert (await acme.secret(), await acme.output()) == (PLAIN, PLAIN)


@pytest.mark.requirement("T8.erased")
async def test_the_keys_of_former_tenants_are_destroyed_beside_one_that_is_there(
    database: Database, tmp_path: Path
) -> None:
    async with made_anew(database, tmp_path) as (acme, former):
        whole = lifecycle(acme.node, tmp_path)

        assert [(await whole.erase_former(ACME)).keys for _ in range(2)] == [1, 1]

        assert await acme.secret() == "of the new one"
        await acme.restore(former, COPY)
        with pytest.raises(KeyErased):
            await acme.secret(COPY)
        await acme.secrets.rotate(COPY)
        assert (await whole.erase("acme")).former_keys == 0
        with pytest.raises(TenantNotFound):
            await whole.erase_former(TenantId("nobody"))


async def test_a_tenant_comes_back_from_its_archive_with_its_keys(
    database: Database, tmp_path: Path
) -> None:
    async with sealing(database, tmp_path) as acme:
        before = await acme.data_keys()
        await lifecycle(acme.node, tmp_path).archive(ACME)

        await acme.verbs.unarchive(ACME, unheard)

        assert (await acme.data_keys(), await acme.secret()) == (before, PLAIN)
        assert await acme.node.sql("SELECT count(*) FROM insula.tenant_key") == 1
