"""A tenant in figures, over the API."""

from __future__ import annotations

import httpx


def test_figures_are_answered_and_rows_only_when_they_are_counted(api: httpx.Client) -> None:
    shown = api.get("/v1/tenants/acme-corp/stats").json()
    counted = api.get("/v1/tenants/acme-corp/stats", params={"exact": "true"}).json()

    assert (shown["tenant"], shown["hour"]["p95"], shown["day"]["p50"]) == ("acme_corp", 75.0, None)
    assert (shown["tables"][0]["rows"], counted["tables"][0]["rows"]) == (None, 42)
    assert api.get("/v1/tenants/nobody/stats").status_code == 404
