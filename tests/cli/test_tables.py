"""Tables on a terminal: what is to be copied from them stays whole."""

from __future__ import annotations

import io
import sys

import pytest

from orchestrator.cli import output

ID = "01a1ff10-1868-7589-831e-ed9cb58e2564"
TIME = "2026-01-31 09:02:14"
REASON = "the login of the database is a superuser, which it need not be, and nobody needs"


class Terminal(io.StringIO):
    """Keeps what a person would see."""

    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, headings: list[str], row: list[str]) -> list[str]:
    """Return the lines of a table on a terminal of 60 columns."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", seen := Terminal())
        output.table(headings, [row])
    return seen.getvalue().splitlines()


def test_an_id_is_whole_on_a_terminal_that_is_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    _, line = drawn(monkeypatch, ["run", "state", "created"], [ID, "succeeded", TIME])

    assert line.rstrip() == f"{ID}  succeeded  {TIME}"


def test_a_long_text_is_broken_and_the_id_beside_it_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, first, second, *_ = drawn(monkeypatch, ["run", "detail"], [ID, REASON])

    assert first.startswith(f"{ID}  the login of")
    assert second.startswith(" " * len(ID))
