"""A tenant that fails is restarted or left alone; its runs are recovered, nobody else notices."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from orchestrator.daemon.sd_notify import Notifier
from orchestrator.daemon.status_line import keep_status
from orchestrator.engine.engine import Engine
from orchestrator.model.clock import HandClock
from orchestrator.model.errors import TenantQuarantined, TenantRestarted
from orchestrator.model.ids import TenantId
from orchestrator.settings.model import SupervisionSection
from supervisors.decide import Record
from supervisors.slot import SlotState
from tests.daemon.process import NotifySocket
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import ACME, lifecycle
from tests.supervisors.workflows import EXECUTED, GATES
from tests.support.database import Database
from tests.support.wait import until

OTHERS = [f"other{number}" for number in range(3)]


@asynccontextmanager
async def undisturbed(node: Node) -> AsyncIterator[None]:
    """Assert that the other tenants serve before and after the block, without a restart."""
    for tenant in OTHERS:
        await node.submit(tenant)
    yield
    for tenant in OTHERS:
        await node.submit(tenant)
        assert node.slot(tenant).incarnation == 1


async def break_journal(node: Node, tenant: str) -> None:
    """Let every write of the tenant's supervisor fail."""
    await node.sql(f"ALTER TABLE tenant_{tenant}.wf_event RENAME TO gone")


async def mend_journal(node: Node, tenant: str) -> None:
    """Take that back."""
    await node.sql(f"ALTER TABLE tenant_{tenant}.gone RENAME TO wf_event")


async def cut(node: Node, tenant: str) -> None:
    """End the connections of the tenant's supervisor; it notices at its next statement."""
    engine = node.database.logins(tenant).engine
    await node.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1", engine
    )


async def terminate(node: Node, tenant: str) -> None:
    """Cut them, and have it notice."""
    await cut(node, tenant)
    node.root.wake(TenantId(tenant))


@pytest.mark.requirement("R12.daemon")
async def test_a_crash_restarts_the_tenant_and_nobody_else(database: Database) -> None:
    held = secrets.token_hex(4)
    async with running_node(database, snapshot(["acme", *OTHERS])) as node, undisturbed(node):
        await node.hold("acme", held)
        await break_journal(node, "acme")
        with pytest.raises(TenantRestarted):
            await node.submit("acme")
        await mend_journal(node, "acme")
        GATES.open(held)

        await node.until_finished("acme", 1)
        assert node.slot("acme").incarnation >= 2
        assert len(node.slot("acme").record.crashes) >= 1
        assert GATES.arrived[held] == 2


@pytest.mark.requirement("R12.daemon")
async def test_a_tenant_that_keeps_crashing_is_quarantined_and_a_reload_frees_it(
    database: Database,
) -> None:
    supervision = SupervisionSection(restart_intensity=1)
    declared = snapshot(["acme", *OTHERS], supervision=supervision)
    async with running_node(database, declared) as node, undisturbed(node):
        await node.submit("acme")
        await node.sql("ALTER TABLE tenant_acme.wf_fence RENAME TO gone")
        await terminate(node, "acme")
        await node.reach("acme", SlotState.QUARANTINED)
        with pytest.raises(TenantQuarantined, match="wf_fence") as refusal:
            await node.submit("acme")
        assert refusal.value.retry_after > 0
        assert node.slot("acme").retry_at is not None
        await node.sql("ALTER TABLE tenant_acme.gone RENAME TO wf_fence")
        await node.declare("acme", *OTHERS, supervision=supervision)
        assert node.slot("acme").state is SlotState.QUARANTINED, "nothing of it was changed"
        await node.declare("acme", *OTHERS, supervision=supervision, weight=2)
        await node.submit("acme")
        assert node.slot("acme").record.probes == 0


async def test_who_comes_into_quarantine_and_goes_is_told_to_systemd(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = NotifySocket(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
    declared, engine = snapshot(["acme", *OTHERS]), database.logins("acme").engine
    async with running_node(database, declared) as node, anyio.create_task_group() as group:
        group.start_soon(keep_status, node.root, Notifier())
        await node.submit("acme")
        await node.sql(f"REVOKE SELECT, UPDATE ON tenant_acme.wf_fence FROM {engine}")
        await terminate(node, "acme")
        await until(lambda: len(systemd.read()) == 1)
        await node.sql(f"GRANT SELECT, UPDATE ON tenant_acme.wf_fence TO {engine}")
        await node.declare("acme", *OTHERS, weight=2)
        await node.submit("acme")
        await until(lambda: len(systemd.read()) == 2)
        group.cancel_scope.cancel()

    told = [message["STATUS"] for message in systemd.read()]
    systemd.close()
    assert told == ["serving 4 tenants, 1 in quarantine", "serving 4 tenants"]


async def test_a_probe_frees_a_quarantined_tenant_whose_cause_was_mended(
    database: Database,
) -> None:
    clock = HandClock()
    declared = snapshot(["acme", *OTHERS])
    async with running_node(database, declared, clock=clock) as node, undisturbed(node):
        await node.submit("acme")
        engine = database.logins("acme").engine
        await node.sql(f"REVOKE SELECT, UPDATE ON tenant_acme.wf_fence FROM {engine}")
        await terminate(node, "acme")
        await node.reach("acme", SlotState.QUARANTINED)
        clock.advance(299.0)
        node.root.probe()
        with pytest.raises(TenantQuarantined) as refusal:
            await node.submit("acme")
        assert refusal.value.retry_after == 1.0
        assert node.slot("acme").state is SlotState.QUARANTINED
        clock.advance(2.0)
        node.root.probe()
        await node.reach("acme", SlotState.QUARANTINED)
        assert node.slot("acme").record.probes == 2
        with pytest.raises(TenantQuarantined) as refusal:
            await node.submit("acme")
        assert refusal.value.retry_after == 600.0
        await node.sql(f"GRANT SELECT, UPDATE ON tenant_acme.wf_fence TO {engine}")
        clock.advance(601.0)
        node.root.probe()
        await node.submit("acme")
        assert node.slot("acme").last_error is None


async def test_to_enable_a_quarantined_tenant_tries_it_at_once_and_says_what_came_of_it(
    database: Database, tmp_path: Path
) -> None:
    clock = HandClock()
    async with running_node(database, snapshot(["acme"]), clock=clock) as node:
        verbs, engine = lifecycle(node, tmp_path), database.logins("acme").engine
        await node.submit("acme")
        await node.sql(f"REVOKE SELECT, UPDATE ON tenant_acme.wf_fence FROM {engine}")
        await terminate(node, "acme")
        await node.reach("acme", SlotState.QUARANTINED)

        for _ in range(2):
            with pytest.raises(TenantQuarantined, match="wf_fence") as refusal:
                await verbs.enable(ACME)
            assert "insula tenant enable acme" in refusal.value.hint
            assert refusal.value.retry_after == 600.0, "who tries by hand puts off no probe"

        await node.sql(f"GRANT SELECT, UPDATE ON tenant_acme.wf_fence TO {engine}")
        await verbs.enable(ACME)
        assert node.slot("acme").state is SlotState.RUNNING
        assert node.slot("acme").last_error is None


async def test_a_login_that_was_spoilt_is_mended_before_it_counts_as_a_crash(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.tenants.prepare(TenantId("acme"))
        await node.sql(f"ALTER ROLE {database.logins('acme').engine} NOLOGIN PASSWORD 'other'")
        await node.submit("acme")
        assert node.slot("acme").last_error is None


async def test_an_outage_of_one_tenant_is_waited_out_and_its_mail_is_served(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme", *OTHERS])) as node, undisturbed(node):
        await node.tenants.prepare(TenantId("acme"))
        engine = database.logins("acme").engine
        await node.sql(f"ALTER ROLE {engine} CONNECTION LIMIT 0")
        async with anyio.create_task_group() as group:
            group.start_soon(node.submit, "acme")
            await node.reach("acme", SlotState.BACKOFF)
            assert "too many connections" in (node.slot("acme").last_error or "")
            await node.sql(f"ALTER ROLE {engine} CONNECTION LIMIT -1")
        assert node.slot("acme").record.crashes == ()


def _quiet(engine: Engine | None) -> bool:
    return engine is not None and not engine.busy


async def test_a_connection_that_is_cut_is_opened_again_without_a_restart(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["cut_off"])) as node:
        for count in range(1, 5):
            await node.submit("cut_off")
            await node.until_finished("cut_off", count)
            engine = node.slot("cut_off").engine
            await until(partial(_quiet, engine))
            await cut(node, "cut_off")
        await node.submit("cut_off")
        assert node.slot("cut_off").incarnation == 1
        await node.until_finished("cut_off", 5)
        assert len(EXECUTED["cut_off"]) == len(set(EXECUTED["cut_off"]))


async def test_what_a_quarantined_tenant_had_is_let_go_and_found_again(database: Database) -> None:
    held = secrets.token_hex(4)
    supervision = SupervisionSection(restart_intensity=1)
    async with running_node(database, snapshot(["acme"], supervision=supervision)) as node:
        await node.hold("acme", held)
        await node.sql("ALTER TABLE tenant_acme.wf_fence RENAME TO gone")
        await terminate(node, "acme")
        await node.reach("acme", SlotState.QUARANTINED)

        async def let_go() -> bool:
            return await node.sql("SELECT node FROM insula.lease") is None

        await until(let_go)
        await node.declare()
        assert node.root.slots == {}
        await node.sql("ALTER TABLE tenant_acme.gone RENAME TO wf_fence")
        GATES.open(held)
        await node.declare("acme", supervision=supervision)

        await node.until_finished("acme", 1)


async def test_what_a_tenant_had_that_was_disabled_in_its_backoff_is_found_again(
    database: Database,
) -> None:
    held = secrets.token_hex(4)
    async with running_node(database, snapshot(["acme"])) as node:
        await node.hold("acme", held)
        engine = database.logins("acme").engine
        await node.sql(f"ALTER ROLE {engine} CONNECTION LIMIT 0")
        node.slot("acme").record = Record(failures=10)
        await break_journal(node, "acme")
        with pytest.raises(TenantRestarted):
            await node.submit("acme")
        await node.reach("acme", SlotState.BACKOFF)
        await node.declare("acme", enabled=False)
        await node.reach("acme", SlotState.SUSPENDED)
        await node.sql(f"ALTER ROLE {engine} CONNECTION LIMIT -1")
        await mend_journal(node, "acme")
        GATES.open(held)
        await node.declare("acme", enabled=True)

        await node.until_finished("acme", 1)


async def test_an_early_return_without_a_wish_is_a_crash(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.submit("acme")
        # A cancel from a stranger ends the wait of the supervisor's own group silently.
        names = {task.get_name(): task for task in asyncio.all_tasks()}
        names["tenant acme"].cancel()
        await until(lambda: node.slot("acme").incarnation == 2)
        await node.submit("acme")
        assert len(node.slot("acme").record.crashes) == 1


async def test_a_drain_does_not_wait_for_a_backoff(database: Database) -> None:
    async with running_node(database, snapshot(["acme"])) as node:
        await node.tenants.prepare(TenantId("acme"))
        await node.sql(f"ALTER ROLE {database.logins('acme').engine} CONNECTION LIMIT 0")
        node.slot("acme").record = Record(failures=10)
        node.root.wake(TenantId("acme"))
        await node.reach("acme", SlotState.BACKOFF)
        with anyio.fail_after(3.0):
            await node.root.drain()
        assert node.slot("acme").state is SlotState.DORMANT
        assert await node.sql("SELECT count(node) FROM insula.lease") == 0
