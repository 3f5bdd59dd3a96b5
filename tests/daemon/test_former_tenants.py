"""Whoever has the id of a deleted tenant learns nothing of that one: every route, over TCP."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from orchestrator import Client
from orchestrator.http.access import RULES
from orchestrator.model.tokens import MintedToken, Role
from tests.daemon.process import daemon
from tests.support.database import Database
from tests.support.redis import free_port
from tests.support.wait import until

CANARY = "kanarie"
COUNT = 424_242_424_242
"""What a canary is where only a number can be."""

TOLD = "SELECT EXISTS (SELECT FROM insula.usage)"
PLANT = f"""
    UPDATE insula.transition SET reason = '{CANARY}';
    UPDATE insula.usage SET task_ms = {COUNT};
    INSERT INTO insula.alert (registration, quota, since, used, allowed)
    SELECT registration, 'max_runs_per_day', date_trunc('day', now(), 'UTC'), {COUNT}, {COUNT}
    FROM insula.tenant;
    UPDATE insula.figures SET runs = {COUNT};
    UPDATE insula.tenant
    SET last_active_at = '2001-01-01', config_hash = '{CANARY}', applied_hash = '{CANARY}';
"""
SEEN = {"globex", "why", "usage", "runs", "secrets", "tokens", "schedules"}
"""Where a tenant sees its own."""

DECLARED: dict[str, Any] = {
    "name": CANARY,
    "aliases": [f"{CANARY}-corp"],
    "set": {
        f"metadata.{CANARY}": CANARY,
        f"settings.{CANARY}": CANARY,
        "schedules": [{"name": CANARY, "workflow": "whoami", "every": "1d"}],
    },
}


async def plant(operator: Client) -> tuple[UUID, MintedToken]:
    """Have a tenant leave its mark wherever it can; return a run and a token of it."""
    await operator.create_tenant("globex", **DECLARED)
    globex = operator.tenant("globex")
    run = await globex.start("whoami", {}, key=CANARY, tags=[CANARY])
    await run.result(timeout=20)
    await globex.secret.set(CANARY, CANARY)
    await globex.pause(reason=CANARY)
    token = await globex.tokens.create("admin", name=CANARY)
    await globex.lifecycle.disable(CANARY)
    return run.id, token


def requests(run: UUID, token: str) -> list[tuple[str, str]]:
    """Return a request for each route that a token of a tenant may use."""
    named = {"tenant": "globex", "run": run, "token": token, "name": "any", "verb": "cancel"}
    routes = [route.split(" ") for route, rule in RULES.items() if isinstance(rule, Role)]
    return [(method, path.format_map(named)) for method, path in routes]


@pytest.mark.slow
async def test_a_token_of_a_tenant_finds_nothing_of_the_former_one_of_its_id(
    database: Database, state_dir: Path
) -> None:
    port, admin = free_port(), await database.connect()
    async with daemon(state_dir) as served:
        served.configure([], database=database, more=f'http.listen = "127.0.0.1:{port}"')
        await served.start()
        async with served.client() as operator:
            run, void = await plant(operator)
            await until(lambda: admin.fetchval(TOLD), what="it has told what it used")
            await admin.execute(PLANT)
            own = [each for each in requests(run, void.view.id) if each[0] == "GET"]
            seen = marked(await walk(port, void.token, own))
            await operator.tenant("globex").lifecycle.delete(keep_results=True)
            await operator.create_tenant("globex")
            made = await operator.tenant("globex").tokens.create("admin")

            told = await walk(port, made.token, requests(run, void.view.id))
            refused = await walk(port, void.token, requests(run, made.view.id))
            billed = [each async for each in operator.usage.all()]
            audit = await operator.audit("globex")

    assert {path.rpartition("/")[2] for path in seen} >= SEEN
    assert marked(told) == []
    answered = {path for path, (status, _) in told.items() if status == 200}
    assert answered >= {path for path in seen if "/runs/" not in path}
    assert {status for status, _ in refused.values()} == {401}
    assert [(each.gone, each.task_ms) for each in billed] == [(True, COUNT)]
    assert CANARY in str(audit), "which the installation's tokens open"


def marked(told: dict[str, tuple[int, str]]) -> list[str]:
    """Return what was asked where the answer has a canary in it."""
    return [asked for asked, (_, text) in told.items() if CANARY in text or str(COUNT) in text]


async def walk(port: int, token: str, asked: list[tuple[str, str]]) -> dict[str, tuple[int, str]]:
    """Return what each request is answered with that token."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answers = {}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=30
    ) as client:
        for method, path in asked:
            answer = await client.request(method, path)
            answers[f"{method} {path}"] = (answer.status_code, answer.content.decode("latin-1"))
    return answers
