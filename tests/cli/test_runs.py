"""`insula run`."""

from __future__ import annotations

import threading
from pathlib import Path
from uuid import UUID

import anyio
import msgspec
import pytest

from orchestrator.model.api import Failure
from orchestrator.model.ids import TenantId
from orchestrator.model.states import RunState, TaskState
from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform
from tests.http.serving import LEAVES_A_SOCKET, Served, serving
from tests.support.wait import until


def the_run(platform: HandMadePlatform) -> UUID:
    """Return the only run there is, once it is there."""
    runs = platform.runs[platform.resolve("acme_corp")]
    anyio.run(until, lambda: runs)
    (run,) = runs
    return run


def test_start_prints_the_id_alone(insula: Insula, platform: HandMadePlatform) -> None:
    done = insula("run", "start", "acme-corp", "slow", "--input", '{"month": 1}', "--key", "k")

    run = platform.runs[platform.resolve("acme_corp")][UUID(done.out.strip())]
    assert (done.code, done.err) == (0, "")
    assert (run.input, run.key) == ({"month": 1}, "k")


def test_start_says_when_the_key_was_known(insula: Insula) -> None:
    first = insula("run", "start", "acme_corp", "slow", "--key", "k")
    second = insula("run", "start", "acme_corp", "slow", "--key", "k")

    assert first.out == second.out
    assert "the key was known" in second.err


def test_start_reads_its_input_from_a_file(
    insula: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    (tmp_path / "input.json").write_text('{"file": "ä"}')

    insula("run", "start", "acme_corp", "slow", "--input", "@input.json")

    assert platform.runs[platform.resolve("acme_corp")][the_run(platform)].input == {"file": "ä"}


def test_start_reads_its_input_from_stdin(insula: Insula, platform: HandMadePlatform) -> None:
    done = insula("run", "start", "acme_corp", "slow", "--input", "-", input='{"month": 2}')

    assert done.code == 0
    run = platform.runs[platform.resolve("acme_corp")][UUID(done.out.strip())]
    assert run.input == {"month": 2}


def test_start_and_wait_prints_the_result(insula: Insula) -> None:
    done = insula("run", "start", "acme_corp", "quick", "--input", '{"month": 1}', "--wait")

    assert done.code == 0
    assert '"flights": 3' in done.out
    assert done.err.startswith("succeeded in ")


def test_start_and_wait_with_json_prints_one_document(insula: Insula) -> None:
    done = insula("run", "start", "acme_corp", "quick", "--wait", "--json")

    assert (done.json["state"], done.json["output"]) == ("succeeded", 42)


def test_start_and_wait_follows_the_run_to_its_end(
    insula: Insula, platform: HandMadePlatform
) -> None:
    thread = threading.Thread(
        target=lambda: platform.finish("acme_corp", the_run(platform), output="done")
    )
    thread.start()

    done = insula("run", "start", "acme_corp", "slow", "--wait", "--json")

    thread.join()
    assert (done.code, done.json["output"]) == (0, "done")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_failed_run_that_was_waited_for_fails_the_command(
    insula: Insula, form: list[str]
) -> None:
    done = insula("run", "start", "acme_corp", "broken", "--wait", *form)

    assert done.code == 1
    assert "error[run_failed]: task load: ValueError: no such file\n" in done.err
    assert "hint: insula run show acme_corp " in done.err
    assert not form or done.json["error"]["message"] == "no such file"


@LEAVES_A_SOCKET
@pytest.mark.usefixtures("left_sockets")
def test_a_daemon_that_restarts_is_waited_for(
    local: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    path = tmp_path / "insula.sock"
    over = threading.Event()

    def two_lives() -> None:
        with serving(platform, path):
            listening.set()
            run = the_run(platform)
            anyio.run(until, lambda: platform.looks)
        with serving(platform, path):
            platform.finish("acme_corp", run)
            over.wait(30)

    listening = threading.Event()
    thread = threading.Thread(target=two_lives)
    thread.start()
    listening.wait(30)
    try:
        done = local("run", "start", "acme_corp", "slow", "--wait")
    finally:
        over.set()
        thread.join()

    assert done.code == 0
    assert done.err.splitlines()[-1].startswith("succeeded in ")


def test_runs_are_listed_in_plain_columns(insula: Insula) -> None:
    slow = insula("run", "start", "acme_corp", "slow", "--key", "k").out.strip()
    insula("run", "start", "acme_corp", "broken")

    done = insula("run", "list", "acme_corp", "--workflow", "slow", "--since", "1h")

    heading, row = done.out.splitlines()
    assert heading.split() == ["run", "workflow", "state", "queue", "created", "took", "key"]
    assert row.split()[:4] == [slow, "slow", "running", "default"]
    assert row.split()[-1] == "k"


def test_more_runs_than_the_limit_are_said_so(insula: Insula) -> None:
    for _ in range(3):
        insula("run", "start", "acme_corp", "slow")

    some = insula("run", "list", "acme_corp", "--limit", "2")
    every = insula("run", "list", "acme_corp", "--json")

    assert len(some.out.splitlines()) == 3
    assert "more than 2" in some.err
    assert (len(every.json["runs"]), every.json["more"]) == (3, False)


def test_a_limit_beyond_a_page_reads_several(
    insula: Insula, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.run.show.PAGE", 2)
    for _ in range(5):
        insula("run", "start", "acme_corp", "slow")

    done = insula("run", "list", "acme_corp", "--limit", "4", "--json")

    assert (len({run["id"] for run in done.json["runs"]}), done.json["more"]) == (4, True)


def test_no_runs_is_not_an_empty_table(insula: Insula) -> None:
    done = insula("run", "list", "acme_corp", "--state", "failed")

    assert (done.code, done.out, done.err) == (0, "", "no runs\n")


def test_show_prints_tasks_times_context_and_the_end_of_a_long_traceback(
    insula: Insula, platform: HandMadePlatform
) -> None:
    run = insula("run", "start", "acme_corp", "slow", "--input", '{"month": 1}').out.strip()
    trace = "\n".join(f"frame {number}" for number in range(100))
    failure = Failure(type="ValueError", message="odd\x1b", task="load", traceback=trace)
    platform.finish("acme_corp", UUID(run), state=RunState.FAILED, error=failure)

    done = insula("run", "show", "acme_corp", run)

    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["run", run]
    task = next(each for each in lines if each.startswith("load"))
    assert TaskState.RUNNING in task
    assert '  "month": 1' in lines
    assert lines[-1] == "frame 99"
    assert "(70 lines before)" in lines
    assert "frame 69" not in lines


def test_show_of_a_run_that_waits_says_where_to_look(
    insula: Insula, platform: HandMadePlatform
) -> None:
    run = insula("run", "start", "acme_corp", "slow").out.strip()
    runs = platform.runs[TenantId("acme_corp")]
    assert insula("run", "show", "acme_corp", run).err == ""

    runs[UUID(run)] = msgspec.structs.replace(runs[UUID(run)], state=RunState.QUEUED)

    shown = insula("run", "show", "acme-corp", run)
    assert "insula tenant why acme-corp tells what it waits for" in shown.err


def test_show_of_an_unknown_run_is_not_found(insula: Insula) -> None:
    done = insula("run", "show", "acme_corp", str(UUID(int=0)))

    assert done.code == 3


def test_any_command_works_over_tcp(
    local: Insula, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSULA_TOKEN", served.platform.tokens.operator)

    done = local("run", "start", "acme_corp", "quick", "--wait", "--json", "--url", served.tcp)

    assert (done.code, done.json["state"]) == (0, "succeeded")
