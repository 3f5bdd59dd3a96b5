"""The log on a terminal: nothing in it is obeyed, and nothing of the local variables is shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context

import pytest
import structlog

from orchestrator.observability.logging import hide_secrets, set_level, set_up
from orchestrator.workflow.secret import Revealed


@pytest.fixture(autouse=True)
def own_configuration() -> Iterator[None]:
    """Take the configuration back."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("form", ["console", "json"])
def test_what_a_task_raised_is_spelled_and_local_variables_are_left_out(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    set_up("info", form)  # type: ignore[arg-type]
    password = "hush"

    try:
        raise ValueError("odd\x1b[2J")
    except ValueError as error:
        assert password
        structlog.get_logger().error("task.failed", error=str(error), exc_info=error)

    seen = capsys.readouterr().err
    assert "ValueError: odd" in seen
    assert "\x1b" not in seen
    assert "hush" not in seen


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.requirement("T8.hidden")
def test_a_secret_that_an_attempt_has_read_is_hidden_wherever_it_stands(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    set_up("info", form)  # type: ignore[arg-type]
    revealed = Revealed()
    revealed.add("api_key", "hush-hush")

    def attempt() -> None:
        hide_secrets(revealed)
        try:
            raise ValueError("hush-hush")
        except ValueError as error:
            structlog.get_logger().error("hush-hush", header=["x hush-hush"], exc_info=error)
        logging.getLogger("library").warning("sends %s", "hush-hush")

    copy_context().run(attempt)

    seen = capsys.readouterr().err
    assert seen.count("[secret api_key]") == 5  # its line of the code is one
    assert "hush" not in seen.replace("[secret api_key]", "")


def test_the_level_changes_for_loggers_that_are_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("warning", "json")
    log = structlog.get_logger()
    seen = []
    for level in ("warning", "debug", "error"):
        set_level(level)
        log.debug("a")
        log.warning("b")
        log.error("c")
        seen.append([json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()])

    assert seen == [["b", "c"], ["a", "b", "c"], ["c"]]
