"""`insula replay`: recorded histories, of files and of the daemon, against the code of today."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import anyio
import msgspec
import pytest

from orchestrator.model.ids import TenantId, new_run_id
from orchestrator.workflow.registry import load
from orchestrator.workflow.testing import Harness, History
from tests.cli.conftest import Insula
from tests.http.serving import LEAVES_A_SOCKET, Served

CODE = """
    from orchestrator import Workflow

    flow = Workflow("orders")

    @flow.task()
    async def pay(ctx, cents: int):
        await ctx.step("charge", str, 1)
        return await ctx.wait_signal("shipped")
"""


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a module and the history of a run of it, the run included."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "recorded_orders.py").write_text(dedent(CODE))
    (tmp_path / "changed_orders.py").write_text(dedent(CODE).replace("charge", "bill"))
    (flow,) = load(["recorded_orders"]).latest.values()

    async def record() -> bytes:
        async with Harness(flow, input={"cents": 1}) as run:
            await run.until_idle()
            events = b"\n".join(map(msgspec.json.encode, run.history))
            return msgspec.json.format(msgspec.json.encode(run.view)) + b"\n" + events

    file = tmp_path / "waiting.json"
    file.write_bytes(anyio.run(record))
    yield file
    for name in set(sys.modules) - before:
        if name.endswith("_orders"):
            del sys.modules[name]


def test_a_history_is_compatible_with_the_code_it_was_made_by(local: Insula, history: Path) -> None:
    done = local("replay", "--module", "recorded_orders", str(history))

    assert done.code == 0
    assert done.out.split("\n")[1].split() == [str(history), "orders", "compatible"]
    assert "waits for signal 'shipped'" in done.err


@pytest.mark.requirement("R16.replay")
def test_all_files_are_checked_and_one_that_diverges_fails(local: Insula, history: Path) -> None:
    none = history.with_name("none.json")

    done = local("replay", "--module", "changed_orders", str(none), str(history))

    assert done.code == 1
    assert "it can not be read: No such file or directory" in done.out
    assert "the history has step 'charge', the code makes step 'bill'" in done.out
    assert "2 of 2 can not be continued" in done.err


def test_json_has_everything_that_was_found(local: Insula, history: Path) -> None:
    done = local("replay", "--json", "--module", "changed_orders", str(history), "none.json")

    assert done.code == 1
    assert done.json["compatible"] is False
    first, second = done.json["histories"]
    assert first["divergence"] == {
        "task": "pay",
        "number": 0,
        "expected": "step 'charge'",
        "found": "makes step 'bill'",
        "branch": 0,
    }
    assert (first["workflow"], first["version"]) == ("orders", "1")
    assert second["error"]["code"] == "request_invalid"


def test_the_input_may_be_given_where_the_history_has_events_alone(
    local: Insula, history: Path
) -> None:
    lines = history.read_text().split("\n")
    history.write_text("\n".join(lines[lines.index("}") + 1 :]))
    module = ("--module", "recorded_orders:flow")

    without = local("replay", *module, str(history))
    given = local("replay", *module, "--input", '{"cents": 1}', str(history))

    assert "needs the input of the run: $.cents: is required" in without.out
    assert (without.code, given.code) == (1, 0)


def test_the_workflows_are_the_configurations(local: Insula, history: Path, tmp_path: Path) -> None:
    config = tmp_path / "insula.toml"
    config.write_text('[workflows]\nmodules = ["recorded_orders"]\n')

    assert local("replay", "--config", str(config), str(history)).code == 0
    assert local("replay", "--module", "no_such_orders", str(history)).code == 78


def test_runs_of_the_daemon_are_replayed_as_their_files_would_be(
    insula: Insula, served: Served, history: Path
) -> None:
    recorded = History.read(history)
    assert recorded.run is not None
    id = recorded.run.id
    served.platform.runs[TenantId("acme_corp")][id] = recorded.run
    served.platform.events[id] = list(recorded.events)
    unknown = str(new_run_id())

    same = insula("replay", "--tenant", "acme_corp", "--module", "recorded_orders", str(id))
    other = insula(
        "replay", "--tenant", "acme_corp", "--module", "changed_orders", str(id), unknown
    )

    assert same.code == 0, same.err
    assert str(id) in same.out
    assert other.code == 1
    assert "the history has step 'charge', the code makes step 'bill'" in other.out
    assert "run_not_found" in other.out


def test_what_the_commands_export_is_a_history(
    insula: Insula, served: Served, history: Path, tmp_path: Path
) -> None:
    recorded = History.read(history)
    assert recorded.run is not None
    id = recorded.run.id
    served.platform.runs[TenantId("acme_corp")][id] = recorded.run
    served.platform.events[id] = list(recorded.events)
    export = tmp_path / "export.json"
    export.write_text(
        insula("run", "show", "--json", "acme_corp", str(id)).out
        + insula("run", "events", "--json", "acme_corp", str(id)).out
    )

    assert insula("replay", "--module", "recorded_orders", str(export)).code == 0


@LEAVES_A_SOCKET
def test_without_the_daemon_its_runs_can_not_be_replayed(
    local: Insula, history: Path, left_sockets: None
) -> None:
    run = str(new_run_id())

    done = local("replay", "--tenant", "acme_corp", "--module", "recorded_orders", run)

    assert done.code == 5
