"""Long operations that both clients are told the progress of."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.client import calls
from orchestrator.client.call import Call
from orchestrator.client.client import Client, SyncClient
from orchestrator.client.progress import ToldAnswer
from orchestrator.model import errors
from orchestrator.model.progress import Progress
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served


async def test_both_clients_report_each_step_and_return_the_result(served: Served) -> None:
    told: list[Progress] = []

    async with Client(served.unix) as client:
        first = await client.tenant("acme-corp").lifecycle.maintain(report=told.append)
    with SyncClient(served.unix) as client:
        second = client.tenant("acme-corp").lifecycle.maintain(after="flight", report=told.append)

    assert (first.left, second.left) == (2, 0)
    assert told == [
        Progress("table boarding", 0, 3, "tables"),
        Progress("table seat", 2, 3, "tables"),
    ]


@pytest.mark.parametrize("wait", [0.0, 1.0], ids=["at once", "in its middle"])
async def test_what_is_refused_is_raised_whenever_that_is(
    served: Served, platform: HandMadePlatform, wait: float
) -> None:
    platform.add("busy")
    told: list[Progress] = []

    async with Client(served.unix) as client:
        busy = client.tenant("busy").lifecycle
        with pytest.raises(errors.TenantInUse):
            await busy.delete(keep_results=False, wait=wait, report=told.append)

    assert len(told) == (1 if wait else 0)


def test_an_answer_that_ends_without_a_result_has_an_unknown_outcome() -> None:
    call: Call[Any] = calls.maintain_tenant("acme", after="", statement_seconds=1.0)
    answer = ToldAnswer(call, lambda _: None)
    answer.feed('{"progress": {"phase": "table seat", "done": 1}}')

    with pytest.raises(errors.DaemonUnreachable, match="what became of it is unknown"):
        answer.result()
