"""Migrations over all tenants, over the API."""

from __future__ import annotations

import httpx
import msgspec

from orchestrator.model.migration import MigrateTenants
from tests.http.platform import HandMadePlatform

JSON = {"Content-Type": "application/json"}


def test_all_tenants_are_migrated_by_default(api: httpx.Client, platform: HandMadePlatform) -> None:
    answer = api.post("/v1/migrate", headers=JSON)

    assert (answer.status_code, answer.json()["up_to_date"]) == (200, 2)
    assert platform.migrations.wanted == [MigrateTenants()]


def test_who_asks_hears_how_many_are_done(api: httpx.Client, platform: HandMadePlatform) -> None:
    wanted = {"tenants": ["globex"], "canary": "acme_corp", "dry_run": True, "parallel": 2}

    answer = api.post("/v1/migrate", json=wanted, headers={"Accept": "application/x-ndjson"})

    first, *_, last = [msgspec.json.decode(line) for line in answer.text.splitlines()]
    assert first["progress"]["unit"] == "tenants"
    assert last["result"]["migrated"][0]["tenant"] == "globex"
    assert platform.migrations.wanted == [msgspec.convert(wanted, MigrateTenants)]


def test_what_can_not_be_meant_is_refused(api: httpx.Client, platform: HandMadePlatform) -> None:
    for wanted in ({"parallel": 0}, {"parallel": 99}, {"dryrun": True}, {"tenants": "acme"}):
        assert api.post("/v1/migrate", json=wanted).status_code == 422
    assert platform.migrations.wanted == []
