"""The audit over the node's control connections, and what it does without a database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from orchestrator.daemon.audit import TenantAudit
from orchestrator.model.errors import DatabaseUnavailable
from orchestrator.model.ids import TenantId
from orchestrator.store.connect import ControlPool
from orchestrator.store.control.audit import Deed
from supervisors.standing import Standing
from tests.supervisors.nodes import in_good_standing
from tests.support.database import Database
from tests.support.proxy import CuttingProxy

ACME = TenantId("acme")
PAUSE = Deed("acme", "uid 1000", "tenant.pause")


@asynccontextmanager
async def audit(
    database: Database, proxy: CuttingProxy, standing: Standing | None = None
) -> AsyncIterator[TenantAudit]:
    """Yield a node's audit; its connections go through `proxy`."""
    async with proxy.running(), ControlPool.open(proxy.target, application_name="insula a") as pool:
        yield TenantAudit(pool, "a", standing or in_good_standing())


async def test_entries_are_read_page_by_page(database: Database) -> None:
    async with audit(database, CuttingProxy(database.target)) as made:
        for outcome in ("done", "tenant_busy"):
            await made.answered(await made.asked(PAUSE), outcome, "")
        open_number = await made.asked(PAUSE)

        newest = await made.read(ACME, limit=2, cursor=None)
        oldest = await made.read(ACME, limit=2, cursor=newest.cursor)

    # The node has no row, as if it had died.
    assert [each.outcome for each in newest.entries] == ["interrupted", "tenant_busy"]
    assert newest.entries[0].number == open_number
    assert ([each.outcome for each in oldest.entries], oldest.cursor) == (["done"], None)


async def test_a_database_that_is_lost_before_the_answer_leaves_the_entry_open(
    database: Database,
) -> None:
    proxy = CuttingProxy(database.target, cut_at=2, for_good=True)
    async with audit(database, proxy) as made:
        number = await made.asked(PAUSE)
        with capture_logs() as logs:
            await made.answered(number, "done", "")

    assert [line["event"] for line in logs] == ["audit.not_answered"]
    reader = await database.connect()
    assert await reader.fetchval("SELECT count(*) FROM insula.audit") == 1


async def test_during_an_outage_nothing_waits_for_the_audit(database: Database) -> None:
    standing = in_good_standing()
    standing.lost("no answer")
    async with audit(database, CuttingProxy(database.target), standing) as made:
        with pytest.raises(DatabaseUnavailable, match="no answer"):
            await made.asked(PAUSE)
