"""The harness measures: one case, one round, one server, real processes."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from benchmarks.document import LEFT_OUT
from benchmarks.harness import Harness, insula
from benchmarks.plan import Case
from benchmarks.schedule import Subject, Timetable, planned
from benchmarks.server import Server
from orchestrator.store import connect
from orchestrator.store.connect import Target

CASE = Case(name="A", title="a little", count=20, quick=(20, 1), seconds=30)
ROLES = "SELECT quote_ident(rolname) FROM pg_roles WHERE starts_with(rolname, 'insula_a_')"


@pytest.fixture
async def harness(server: Target, tmp_path: Path) -> AsyncIterator[Harness]:
    """Measure on the tests' server; the roles of the measured tenant go at the end."""
    yield Harness(Server(server.url, os.getpid(), tmp_path), tmp_path, quick=True, said=print)
    admin = await connect.connect(server, application_name="insula test")
    for (role,) in await admin.fetch(ROLES):
        await admin.execute(f"DROP ROLE {role}")
    await admin.close()


async def test_a_case_is_measured_and_a_subject_that_fails_is_told_of(harness: Harness) -> None:
    absent = Subject(
        name="absent", module="benchmarks.no_such", python=sys.executable, cases=(CASE,)
    )

    steps = planned([absent, insula([CASE])], 1)

    theirs, ours = await anyio.to_thread.run_sync(
        lambda: list(harness.measure(steps, Timetable(steps)))
    )

    assert not ours.error
    assert {"runs_per_s", "submit_runs_per_s", "commits_per_run"} <= set(ours.figures)
    assert all(value >= 0 for value in ours.figures.values())
    assert ours.seconds > 0
    assert "no_such" in theirs.error


async def test_what_the_time_does_not_allow_is_left_out_and_told_of(harness: Harness) -> None:
    steps = planned([insula([CASE])], 3)

    measured = list(harness.measure(steps, Timetable(steps, budget=0.0)))

    assert [each.error for each in measured] == [LEFT_OUT]
