"""The engine does what a small pure model of it does, wherever its process dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop
from hypothesis import HealthCheck, given, seed, settings

from tests.engine.model.acts import SCRIPT, Act, Playing
from tests.engine.model.stage import Stage
from tests.support.database import Databases

PARTS = 4
EXAMPLES = max(400, settings().max_examples) // PARTS
CHOICE = settings(
    max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None, deadline=None
)


@pytest.fixture
def run(databases: Databases) -> Iterator[Callable[[list[Act]], None]]:
    """Provision one tenant; return what plays a script on it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        around = databases.lend()
        database = runner.run(around.__aenter__())

        async def open_stage() -> Stage:
            await database.provision("acme")
            stage = Stage(database, await database.connect())
            await stage.open()
            return stage

        stage = runner.run(open_stage())
        yield lambda script: runner.run(Playing(stage).play(script))
        runner.run(stage.close())
        runner.run(around.__aexit__(None, None, None))


@pytest.mark.slow
@pytest.mark.timeout(max(300, EXAMPLES))
@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_goes_where_the_model_goes(run: Callable[[list[Act]], None], part: int) -> None:
    @CHOICE
    @given(SCRIPT)
    def agrees(script: list[Act]) -> None:
        run(script)

    # A soak draws other examples each time; else each part has its own, always the same.
    (seed(part)(agrees) if settings().derandomize else agrees)()
