"""`insula tenant move`."""

from __future__ import annotations

import json

from orchestrator.model.moves import MoveTenant
from tests.cli.conftest import Insula
from tests.http.platform import HandMadePlatform


def test_a_tenant_is_moved_confirmed_and_brought_back(
    insula: Insula, platform: HandMadePlatform
) -> None:
    moved = insula("tenant", "move", "acme-corp", "--to", "eu", "--wait", "2s")
    back = insula("tenant", "move", "acme-corp", "--back", "--force")
    done = insula("tenant", "move", "acme-corp", "--confirm", "--json")

    assert (moved.code, back.code, done.code) == (0, 0, 0)
    assert "12 rows in 8 tables" in moved.out
    assert "control" in moved.out
    assert json.loads(done.out)["shard"] == "eu"
    assert [wanted for _, wanted in platform.moves.asked] == [
        MoveTenant(to="eu", wait=2.0),
        MoveTenant(back=True, force=True),
        MoveTenant(confirm=True),
    ]


def test_what_is_wanted_is_said_once(insula: Insula, platform: HandMadePlatform) -> None:
    assert insula("tenant", "move", "acme-corp").code == 2
    assert insula("tenant", "move", "acme-corp", "--to", "eu", "--back").code == 2
    assert platform.moves.asked == []
