"""A tenant with `encrypt_payloads`: what its runs carry stands nowhere, and is read as ever."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.archive.export import ExportReader
from orchestrator.lifecycle.keys import InstallationKey
from orchestrator.lifecycle.removal import remove
from orchestrator.model.errors import SecretUnreadable
from orchestrator.model.ids import TenantId
from orchestrator.model.states import RunState
from orchestrator.settings.duration import Duration
from orchestrator.store.control import tenants as rows
from orchestrator.store.tenant.payloads import Payloads
from orchestrator.store.tenant.sealing import DataKey
from orchestrator.store.tenant.secrets import Vault
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow
from orchestrator.workflow.registry import Registry
from supervisors.slot import SlotState
from tests.supervisors.nodes import Node, running_node, snapshot
from tests.supervisors.test_lifecycle import archives
from tests.supervisors.test_why import platform_of
from tests.support.database import Database
from tests.support.dump import dump
from tests.support.wait import until

ACME = TenantId("acme")
PLAIN = "plain-4f1c"

flow = Workflow("flow")


@flow.task()
async def first(ctx: Context, text: str) -> str:
    ctx.set("kept", f"context {text}")
    step = await ctx.step("fetch", lambda: f"step {text}")
    return f"{step}, {await ctx.wait_signal('go')}"


@flow.task(after=[first], transactional=True)
async def second(ctx: Context) -> str:
    await ctx.db.fetchval("SELECT 1")
    return f"second {ctx.output(first)}"


bad = Workflow("bad")


@bad.task()
async def fails(ctx: Context, text: str) -> None:
    raise ValueError(f"message {text}")


child = Workflow("child")


@child.task()
async def starts(ctx: Context, text: str) -> Any:
    return await ctx.wait(await ctx.start_child("echo", {"text": f"child {text}"}))


echo = Workflow("echo")


@echo.task()
async def says(ctx: Context, text: str) -> str:
    return text


REGISTRY = Registry.of([flow, bad, child, echo])


async def ended(node: Node, run: Any) -> Any:
    """Return a run as the API shows it once it has finished."""
    platform = platform_of(node)

    async def finished() -> Any:
        view = await platform.read_run(ACME, run)
        return view if view.state.finished else None

    return await until(finished)


@pytest.mark.requirement("T8.payloads")
async def test_no_payload_stands_in_any_table_and_all_of_them_are_read(database: Database) -> None:
    declared = snapshot(["acme"], encrypt_payloads=True)
    async with running_node(database, declared, registry=REGISTRY) as node:
        platform = platform_of(node)
        waits = await node.submit("acme", "flow", key="plain key", text=PLAIN)
        await until(lambda: _state(node, waits.id, RunState.WAITING))
        await platform.send_signal(ACME, waits.id, "go", f"signal {PLAIN}")
        failed = await node.submit("acme", "bad", text=PLAIN)
        parent = await node.submit("acme", "child", text=PLAIN)

        done = await ended(node, waits.id)
        broken, told = await ended(node, failed.id), await ended(node, parent.id)
        events = await platform.read_events(ACME, waits.id, -1)

        stored = await dump(await database.connect())
        assert PLAIN not in stored
        for searched in ("plain key", "ValueError", "flow", "succeeded", "insula:sealed:"):
            assert searched in stored

    output = f"step {PLAIN}, signal {PLAIN}"
    assert done.input == {"text": PLAIN}
    assert done.output == f"second {output}"
    assert done.context["kept"] == f"context {PLAIN}"
    assert [task.output for task in done.tasks] == [output, f"second {output}"]
    assert PLAIN in msgspec.json.encode(events).decode()
    assert (broken.error.type, broken.error.message) == ("ValueError", f"message {PLAIN}")
    assert told.output == f"child {PLAIN}"


@pytest.mark.slow
async def test_a_run_is_taken_up_again_from_what_is_sealed(database: Database) -> None:
    declared = snapshot(["acme"], encrypt_payloads=True, idle_ttl=Duration(milliseconds=20))
    async with running_node(database, declared, registry=REGISTRY) as node:
        run = await node.submit("acme", "flow", text=PLAIN)
        await until(lambda: _state(node, run.id, RunState.WAITING))
        await node.reach("acme", SlotState.DORMANT)
        async with node.control.acquire() as connection:
            await Vault(ACME, await database.keys()).rotate(connection)
        await platform_of(node).send_signal(ACME, run.id, "go", PLAIN)

        assert (await ended(node, run.id)).output == f"second step {PLAIN}, {PLAIN}"
        assert PLAIN not in await dump(await database.connect())


@pytest.mark.slow
async def test_plain_runs_of_before_and_sealed_ones_of_then_stay_readable(
    database: Database,
) -> None:
    async with running_node(database, snapshot(["acme"]), registry=REGISTRY) as node:
        plain = await node.submit("acme", "echo", text=PLAIN)
        await ended(node, plain.id)
    async with running_node(
        database, snapshot(["acme"], encrypt_payloads=True), registry=REGISTRY, name="b"
    ) as node:
        sealed = await node.submit("acme", "flow", text="other-77ab")
        await until(lambda: _state(node, sealed.id, RunState.WAITING))
        assert (await ended(node, plain.id)).output == PLAIN
    async with running_node(database, snapshot(["acme"]), registry=REGISTRY, name="c") as node:
        await platform_of(node).send_signal(ACME, sealed.id, "go", "now plain")
        assert (await ended(node, sealed.id)).output == "second step other-77ab, now plain"

    stored = await dump(await database.connect())
    assert PLAIN in stored
    assert "now plain" in stored


async def test_what_came_past_the_daemon_is_sealed_when_it_is_taken_up(database: Database) -> None:
    declared = snapshot(["acme"], encrypt_payloads=True)
    async with running_node(database, declared, registry=REGISTRY) as node:
        await node.submit("acme", "echo", text="")
        run = await node.sql(
            "SELECT insula.submit('acme', 'echo', $1::jsonb)", f'{{"text": "{PLAIN}"}}'
        )

        assert (await ended(node, run)).output == PLAIN
        assert PLAIN not in await dump(await database.connect())


async def test_the_results_file_of_a_deleted_tenant_can_be_read(
    database: Database, tmp_path: Path
) -> None:
    declared = snapshot(["acme"], encrypt_payloads=True)
    async with running_node(database, declared, registry=REGISTRY) as node:
        run = await node.submit("acme", "echo", text=PLAIN)
        await ended(node, run.id)
    admin = await database.connect()
    await admin.execute("DELETE FROM insula.lease")
    row = await rows.mark_deleting(admin, ACME, "keep")

    await remove(admin, row, database.spec(), archive=tmp_path / "acme.jsonl.gz")

    lines = gzip.decompress((tmp_path / "acme.jsonl.gz").read_bytes()).splitlines()
    assert msgspec.json.decode(lines[1])["output"] == PLAIN
    assert PLAIN not in await dump(admin)


async def test_an_export_says_what_is_sealed_and_opens_it_only_when_asked(
    database: Database, tmp_path: Path
) -> None:
    declared = snapshot(["acme"], encrypt_payloads=True)
    async with running_node(database, declared, registry=REGISTRY) as node:
        for workflow in ("echo", "bad"):
            run = await node.submit("acme", workflow, text=PLAIN)
            await ended(node, run.id)
        verbs = archives(node, tmp_path)
        with await verbs.export(ACME, kind="csv", unsealed=False) as spool:
            assert ExportReader(spool).manifest.sealed
            spool.seek(0)
            assert PLAIN.encode() not in spool.read()
        with await verbs.export(ACME, kind="csv", unsealed=True) as spool:
            export = ExportReader(spool)
            text = b"".join(export.pieces(export.manifest.runs))

    assert not export.manifest.sealed
    first, second = [msgspec.json.decode(line) for line in text.splitlines()]
    assert (first["input"], first["output"]) == ({"text": PLAIN}, PLAIN)
    assert (second["error"]["message"], second["output"]) == (f"message {PLAIN}", None)
    assert export.manifest.runs.rows == 2


@pytest.mark.requirement("T8.bound")
def test_a_payload_is_bound_to_its_run_and_place() -> None:
    key = DataKey.generate()
    ours, theirs = Payloads([key], key), Payloads([], None)
    run, other = DataKey.generate().id, DataKey.generate().id
    sealed = ours.seal('{"a":1}', run, "input")

    assert ours.open(sealed, run, "input") == '{"a":1}'
    for elsewhere in ((other, "input"), (run, "output")):
        with pytest.raises(SecretUnreadable):
            ours.open(sealed, *elsewhere)
    with pytest.raises(SecretUnreadable, match="not here"):
        theirs.open(sealed, run, "input")
    wrapped = key.wrap(InstallationKey(bytes(32)))
    with pytest.raises(SecretUnreadable):
        DataKey.unwrap(wrapped, InstallationKey(b"x" * 32))


async def _state(node: Node, run: Any, state: RunState) -> bool:
    return (await platform_of(node).read_run(ACME, run)).state is state


def test_what_only_looks_sealed_is_not_taken_for_it() -> None:
    key, run = DataKey.generate(), DataKey.generate().id
    formerly = Payloads([key], None)
    for mimic in ("insula:sealed:", f"insula:sealed:{key.id.hex}:AAAA"):
        stored = formerly.seal(msgspec.json.encode(mimic).decode(), run, "signal 1")
        assert msgspec.json.decode(formerly.open(stored, run, "signal 1")) == mimic
    assert formerly.open('"insula:sealed:"', run, "output") == '"insula:sealed:"'
