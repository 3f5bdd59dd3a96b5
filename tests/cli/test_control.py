"""`insula run cancel … signal`, `run events`, `tenant pause` and `dead`."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform
from tests.support.wait import until

NOBODY = str(UUID(int=0))


def start(insula: Insula, workflow: str = "slow") -> str:
    """Start a run and return its id."""
    return insula("run", "start", "acme_corp", workflow).out.strip()


@pytest.mark.parametrize(
    ("verb", "workflow", "state"),
    [
        ("cancel", "slow", "cancelled"),
        ("pause", "slow", "paused"),
        ("resume", "slow", "running"),
        ("retry", "broken", "running"),
    ],
)
def test_a_verb_prints_the_state_it_led_to(
    insula: Insula, platform: HandMadePlatform, verb: str, workflow: str, state: str
) -> None:
    run, other = start(insula, workflow), start(insula, workflow)

    done = insula("run", verb, "acme_corp", run, "--reason", "lunch")
    document = insula("run", verb, "acme_corp", other, "--json")

    assert (done.code, done.out, done.err) == (0, f"{state}\n", "")
    assert document.json == {"id": other, "state": state}
    assert platform.asked == [(verb, "lunch"), (verb, "")]


def test_what_the_state_of_a_run_forbids_fails(insula: Insula) -> None:
    done = insula("run", "cancel", "acme_corp", start(insula, "quick"))

    assert done.code == 1
    assert done.err.startswith("error[run_conflict]: ")


@pytest.mark.parametrize("verb", ["cancel", "repeat", "events", "show"])
def test_a_run_that_is_not_there_is_not_found(insula: Insula, verb: str) -> None:
    assert insula("run", verb, "acme_corp", NOBODY).code == 3
    assert insula("run", verb, "acme_corp", "last").code == 2


def test_repeat_prints_the_id_of_the_new_run(insula: Insula, platform: HandMadePlatform) -> None:
    run = start(insula, "quick")

    done = insula("run", "repeat", "acme_corp", run, "--from", "load")
    document = insula("run", "repeat", "acme_corp", run, "--json").json

    assert (done.code, done.err) == (0, "")
    assert UUID(done.out.strip()) in platform.runs[platform.resolve("acme_corp")]
    assert document["state"] == "queued"
    assert platform.asked == [("repeat", "load"), ("repeat", None)]


def test_a_signal_takes_its_payload_from_the_line_a_file_or_stdin(
    insula: Insula, platform: HandMadePlatform, tmp_path: Path
) -> None:
    run = start(insula)
    (tmp_path / "data.json").write_text("[1, 2]")
    command = ("run", "signal", "acme_corp", run, "approved")

    nothing, line = insula(*command), insula(*command, "--data", '"yes"', "--key", "k")
    file = insula(*command, "--data", "@data.json", "--json")
    stdin = insula(*command, "--data", "-", input='{"by": "ann"}')

    assert [done.code for done in (nothing, line, file, stdin)] == [0, 0, 0, 0]
    assert (line.out, line.err) == ("", f"sent approved to {run}\n")
    assert file.json == {"run": run, "signal": "approved"}
    assert [asked[1:] for asked in platform.asked] == [
        (None, None),
        ("yes", "k"),
        ([1, 2], None),
        ({"by": "ann"}, None),
    ]


def test_a_start_is_put_off_and_bounded(insula: Insula, platform: HandMadePlatform) -> None:
    command = ("run", "start", "acme_corp", "slow")

    later = insula(*command, "--delay", "5m", "--deadline", "1h")
    then = insula(*command, "--at", "2026-01-31T09:00")

    assert (later.code, then.code) == (0, 0)
    first, second = platform.started
    assert (first.delay, first.deadline, first.at) == ("5m", "1h", None)
    assert second.at == datetime(2026, 1, 31, 9).astimezone()


def test_a_start_is_given_tags(insula: Insula, platform: HandMadePlatform) -> None:
    insula("run", "start", "acme_corp", "slow", "--tag", "trial", "--tag", "eu")

    assert platform.started[0].tags == ["trial", "eu"]


def test_events_are_printed_one_a_line(insula: Insula, platform: HandMadePlatform) -> None:
    run = start(insula)
    error = {"type": "ValueError", "message": "odd\x1b", "traceback": "a\nb"}
    platform.tell(UUID(run), "task.failed", task="load", attempt=2, error=error)
    platform.tell(UUID(run), "task.parked", task="wait", signals=["go"])

    every = insula("run", "events", "acme_corp", run)
    some = insula("run", "events", "acme_corp", run, "--after", "1", "--json")

    first, second, third = every.out.splitlines()
    assert (first.split()[0], first.split()[-1]) == ("0", "run.started")
    assert second.endswith("task.failed      task load, attempt 2, error ValueError: odd\\x1b")
    assert third.endswith('task wait, signals ["go"]')
    assert [event["number"] for event in some.json["events"]] == [2]


def test_events_are_followed_to_the_end(
    insula: Insula,
    platform: HandMadePlatform,
    spawned: Callable[..., subprocess.Popen[bytes]],
) -> None:
    run = start(insula)
    command = spawned(
        *("run", "events", "acme_corp", run, "--follow", "--json"), stdout=subprocess.PIPE
    )
    assert command.stdout is not None
    first = json.loads(command.stdout.readline())
    platform.finish("acme_corp", UUID(run))

    rest = [json.loads(line) for line in command.communicate(timeout=30)[0].splitlines()]

    assert command.returncode == 0
    told = [each["event"]["event"] for each in [first, *rest]]
    assert told == ["run.started", "run.succeeded"]


def test_ctrl_c_ends_the_following(
    insula: Insula, platform: HandMadePlatform, spawned: Callable[..., subprocess.Popen[bytes]]
) -> None:
    run = start(insula)
    command = spawned(
        *("run", "events", "acme_corp", run, "--follow"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None
    assert b"run.started" in command.stdout.readline()

    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=30)

    assert (command.returncode, err) == (130, b"")


def test_a_tenant_is_paused_and_resumed(insula: Insula, platform: HandMadePlatform) -> None:
    paused = insula("tenant", "pause", "acme-corp", "--reason", "wrong figures")
    resumed = insula("tenant", "resume", "acme_corp", "--workflow", "slow", "--json")

    assert (paused.code, paused.out, paused.err) == (0, "", "paused acme_corp\n")
    assert resumed.json == {"tenant": "acme_corp", "workflow": "slow", "paused": False}
    assert platform.asked == [
        ("acme_corp", None, True, "wrong figures"),
        ("acme_corp", "slow", False, ""),
    ]


def test_dead_letters_are_listed_and_shown(insula: Insula) -> None:
    quick, broken = start(insula, "quick"), start(insula, "broken")
    start(insula, "broken")

    listed = insula("dead", "list", "acme_corp")
    some = insula("dead", "list", "acme_corp", "--limit", "1", "--json").json
    shown = insula("dead", "show", "acme_corp", broken)
    other = insula("dead", "show", "acme_corp", quick)

    heading, _, row = listed.out.splitlines()
    assert heading.split() == ["run", "workflow", "state", "queue", "created", "finished"]
    assert row.split()[:3] == [broken, "broken", "failed"]
    assert (len(some["runs"]), some["more"]) == (1, True)
    assert "ValueError: no such file" in shown.out
    assert (other.code, "no dead letter" in other.err) == (1, True)


def test_no_dead_letters_are_said_so(insula: Insula) -> None:
    done = insula("dead", "list", "acme_corp")

    assert (done.code, done.out, done.err) == (0, "", "no dead letters\n")


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_dead_letters_are_changed_by_id_or_all(insula: Insula, action: str) -> None:
    one, other, third, fourth = (start(insula, "broken") for _ in range(4))

    named = insula("dead", action, "acme_corp", one, NOBODY)
    first = insula("dead", action, "acme_corp", "--all")
    second = insula("dead", action, "acme_corp", "--all", "--json")

    assert (named.code, named.out) == (1, f"{one}\n")
    assert named.err.splitlines() == [
        f"{action}ed 1; 3 left",
        f"error[run_conflict]: run {NOBODY} is no dead letter",
    ]
    assert (first.code, first.out.split()) == (0, [third, other])
    assert first.err == f"{action}ed 2; 1 left\n"
    assert second.json == {"done": [fourth], "refused": [], "left": 0}
    anyio.run(until, lambda: insula("dead", "list", "acme_corp", "--json").json["runs"] == [])
