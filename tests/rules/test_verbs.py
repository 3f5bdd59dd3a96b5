"""Every verb that changes a tenant is killed in its middle, audited, and told of in a guide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler

from orchestrator.cli.main import commands
from orchestrator.http.app import build_app
from tests.daemon.cuts import CUTS
from tests.daemon.verbs import VERBS
from tests.http.platform import HandMadePlatform

GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
GROUPS = ("tenant", "token", "run", "dead", "schedule")
READS = {
    *("tenant list", "tenant show", "tenant why", "tenant audit", "tenant stats"),
    *("tenant secret list", "run list", "run show", "run events", "dead list", "dead show"),
    *("schedule list", "token list"),
}
"""Commands that change nothing."""

BY_THE_APPLICATION = {"run start", "run signal"}
"""What applications do all day: kills in tests/daemon/test_recovery.py, and no audit."""


def test_every_route_that_is_audited_is_in_the_table_of_verbs() -> None:
    routes = build_app(HandMadePlatform().services()).routes
    handlers = {
        handler.fn.__name__
        for route in routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler)
        and "record" in handler.parsed_fn_signature.parameters
    }

    assert {verb.route for verb in VERBS.values()} == handlers


def test_every_command_that_changes_a_tenant_is_in_the_table_of_verbs() -> None:
    every = {line for group in GROUPS for line in _lines(commands().commands[group], group)}
    tabled = {verb.command for verb in VERBS.values() if verb.command}

    assert tabled - {"migrate"} == every - READS - BY_THE_APPLICATION
    assert every >= READS | BY_THE_APPLICATION


def test_every_verb_is_killed_in_its_middle() -> None:
    assert {cut.operation for cut in CUTS} == VERBS.keys()


@pytest.mark.parametrize("command", sorted(each.command for each in VERBS.values() if each.command))
def test_every_verb_is_told_of_in_a_guide(command: str) -> None:
    written = re.compile(rf"insula {command}\b")

    assert [guide.name for guide in GUIDES.glob("*.md") if written.search(guide.read_text())]


def _lines(command: Any, name: str) -> Iterator[str]:
    """Yield the commands of a group, and of the groups in it, as they are typed."""
    parts = getattr(command, "commands", None)
    if parts is None:
        yield name
        return
    for each, part in parts.items():
        yield from _lines(part, f"{name} {each}")
