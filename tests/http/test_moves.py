"""Moving a tenant over HTTP."""

from __future__ import annotations

import httpx
import pytest

from orchestrator.model.moves import MoveTenant
from tests.http.platform import HandMadePlatform


def test_a_tenant_is_moved_and_that_is_confirmed(
    api: httpx.Client, platform: HandMadePlatform
) -> None:
    moved = api.post("/v1/tenants/acme-corp/move", json={"to": "eu", "wait": 2.5})
    again = api.post("/v1/tenants/acme-corp/move", json={"to": "us"})
    done = api.post("/v1/tenants/acme-corp/move", json={"confirm": True})

    assert (moved.json()["shard"], moved.json()["kept_on"]) == ("eu", "control")
    assert (again.status_code, again.json()["code"]) == (409, "tenant_copy_kept")
    assert "kept_on" not in done.json() or done.json()["kept_on"] is None
    assert platform.moves.asked[0] == ("acme_corp", MoveTenant(to="eu", wait=2.5))


@pytest.mark.parametrize(
    "wrong", [{}, [], {"to": ""}, {"to": 3}, {"to": "eu", "wait": -1}, {"to": "eu", "back": True}]
)
def test_a_wrong_move_is_refused(api: httpx.Client, wrong: object) -> None:
    assert api.post("/v1/tenants/acme-corp/move", json=wrong).status_code == 422


def test_a_shard_that_is_away_is_named(api: httpx.Client) -> None:
    answer = api.post("/v1/tenants/acme-corp/move", json={"to": "away"})

    assert (answer.status_code, "shard 'away'" in answer.json()["detail"]) == (503, True)
    assert api.post("/v1/tenants/nobody/move", json={"to": "eu"}).status_code == 404
