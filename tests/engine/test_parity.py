"""What runs in the kit for users' tests and on PostgreSQL comes to the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from orchestrator.daemon.platform import TenantPlatform
from orchestrator.engine.control import Verb
from orchestrator.model.api import EventView, RunView
from orchestrator.model.ids import TenantId
from orchestrator.workflow.registry import Registry
from orchestrator.workflow.testing import Harness, replay
from tests.engine import parity_workflows
from tests.supervisors.nodes import Node, in_good_standing, running_node, snapshot
from tests.support.database import Database
from tests.support.wait import until

ACME = TenantId("acme")
REGISTRY = Registry.of(parity_workflows.ALL)
CHILDREN = {flow.name: flow for flow in parity_workflows.ALL}


@dataclass(frozen=True)
class Seen:
    """What a run came to; `events` are their names, by task, '' for the run's own."""

    state: str
    output: Any
    context: Any
    error: tuple[str, str] | None
    tasks: Mapping[str, tuple[str, int, Any]]
    events: Mapping[str, list[str]]


def seen(view: RunView, history: Sequence[EventView]) -> Seen:
    """Return what can be compared: neither times nor ids."""
    events: dict[str, list[str]] = defaultdict(list)
    for each in history:
        events[each.event.get("task", "")].append(each.event["event"])
    error = view.error
    return Seen(
        view.state,
        view.output,
        view.context,
        None if error is None else (error.type, error.message),
        {task.name: (task.state, task.attempt, task.output) for task in view.tasks},
        events,
    )


@dataclass(frozen=True)
class OnPostgres:
    """A node, and what a test asks of it."""

    platform: TenantPlatform
    node: Node

    async def run(self, workflow: str, given: dict[str, Any]) -> UUID:
        """Start a run."""
        return (await self.node.submit(ACME, workflow, **given)).id

    async def reach(self, run: UUID, *states: str) -> None:
        """Return when the run is in one of `states`."""
        await until(lambda: self._is(run, states), what=f"{run} is {states}")

    async def _is(self, run: UUID, states: Sequence[str]) -> bool:
        return (await self.platform.read_run(ACME, run)).state in states

    async def has(self, run: UUID, event: str, count: int) -> bool:
        """Tell whether the run has so many events of a name."""
        return [each.event["event"] for each in await self.events(run)].count(event) == count

    async def seen(self, run: UUID) -> Seen:
        """Return what can be compared of a run."""
        return seen(await self.platform.read_run(ACME, run), await self.events(run))

    async def events(self, run: UUID) -> list[EventView]:
        """Return all events of a run."""
        return await self.platform.read_events(ACME, run, -1)


@asynccontextmanager
async def on_postgres(database: Database) -> AsyncIterator[OnPostgres]:
    """Run a node that serves the workflows."""
    async with running_node(database, snapshot([ACME]), registry=REGISTRY) as node:

        async def nothing(*_: object, **__: object) -> Any:
            raise AssertionError("no test asks for it")

        platform = TenantPlatform(
            root=node.root,
            shards=node.tenants.shards,
            registry=REGISTRY,
            node=node.name,
            role_prefix=database.role_prefix,
            standing=in_good_standing(),
            remembered=node.tenants.remembered,
            absent=lambda: node.tenants.absent,
            register=nothing,
            prepare=node.tenants.prepare,
            ground=node.ground,
        )
        yield OnPostgres(platform, node)


@pytest.mark.parametrize(
    ("workflow", "given", "ends"),
    [
        ("diamond", {"n": 1}, "succeeded"),
        ("rules", {}, "failed"),
        ("tries", {"fail_times": 2}, "succeeded"),
        ("tries", {"fail_times": 3}, "failed"),
        ("durable", {}, "succeeded"),
        ("family", {}, "succeeded"),
        ("diverges", {}, "blocked"),
    ],
)
async def test_a_run_comes_to_the_same(
    database: Database, workflow: str, given: dict[str, Any], ends: str
) -> None:
    async with on_postgres(database) as postgres:
        id = await postgres.run(workflow, given)
        await postgres.reach(id, ends)
        events = await postgres.events(id)
        there = await postgres.seen(id)

    flow = CHILDREN[workflow]
    async with Harness(flow, input=given, children=_others(workflow)) as run:
        await run.finish()
        here = seen(run.view, run.history)

    assert here == there
    assert (await replay(events, flow, input=given)).compatible == (ends != "blocked")


async def test_a_signal_comes_to_the_same(database: Database) -> None:
    async with on_postgres(database) as postgres:
        id = await postgres.run("signals", {})
        await postgres.reach(id, "waiting")
        await postgres.platform.send_signal(ACME, id, "go", {"now": True})
        await postgres.reach(id, "succeeded")
        there = await postgres.seen(id)

    async with Harness(parity_workflows.signals) as run:
        await run.until_idle()
        await run.signal("go", {"now": True})
        await run.finish()
        assert seen(run.view, run.history) == there


@pytest.mark.parametrize(
    ("verbs", "ends"),
    [
        ([Verb.CANCEL], "cancelled"),
        ([Verb.PAUSE], "paused"),
        ([Verb.PAUSE, Verb.PAUSE, Verb.RESUME, Verb.CANCEL], "cancelled"),
    ],
)
async def test_what_is_done_to_a_run_comes_to_the_same(
    database: Database, verbs: list[Verb], ends: str
) -> None:
    async with on_postgres(database) as postgres:
        id = await postgres.run("signals", {})
        await postgres.reach(id, "waiting")
        for verb in verbs:
            await postgres.platform.change_run(ACME, id, verb)
        await postgres.reach(id, ends)
        there = await postgres.seen(id)

    async with Harness(parity_workflows.signals) as run:
        await run.until_idle()
        for verb in verbs:
            await {Verb.CANCEL: run.cancel, Verb.PAUSE: run.pause, Verb.RESUME: run.resume}[verb]()
        assert seen(run.view, run.history) == there


async def test_a_failed_run_that_is_retried_comes_to_the_same(database: Database) -> None:
    async with on_postgres(database) as postgres:
        id = await postgres.run("rules", {})
        await postgres.reach(id, "failed")
        await postgres.platform.change_run(ACME, id, Verb.RETRY)
        await until(lambda: postgres.has(id, "run.failed", 2))
        there = await postgres.seen(id)

    async with Harness(parity_workflows.rules) as run:
        await run.until_idle()
        await run.retry()
        assert seen(run.view, run.history) == there


def _others(workflow: str) -> dict[str, Any]:
    return {name: flow for name, flow in CHILDREN.items() if name != workflow}
