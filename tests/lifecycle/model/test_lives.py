"""Tenants live as a small pure model of them does, wherever the connections of a node are cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop
from hypothesis import HealthCheck, given, seed, settings

from tests.lifecycle.model.acts import SCRIPT, Act
from tests.lifecycle.model.play import Playing
from tests.lifecycle.model.stage import Stage
from tests.support.database import Databases

EXAMPLES = max(1, settings().max_examples // 400)
"""An example does some ten verbs, which takes a second."""

CHOICE = settings(
    max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None, deadline=None
)


class Theatre:
    """Plays scripts on one stage as long as they succeed; a failure leaves it to nobody else."""

    def __init__(self, runner: asyncio.Runner, databases: Databases) -> None:
        self._runner = runner
        self._databases = databases
        self._stage: Stage | None = None

    def play(self, script: list[Act]) -> None:
        """Play one script."""
        self._runner.run(self._play(script))

    def close(self) -> None:
        """Leave nothing."""
        self._runner.run(self._close())

    async def _play(self, script: list[Act]) -> None:
        if self._stage is None:
            self._stage = Stage(self._databases)
            await self._stage.open()
        try:
            await Playing(self._stage).play(script)
        except BaseException:
            await self._close()
            raise

    async def _close(self) -> None:
        stage, self._stage = self._stage, None
        if stage is not None:
            await stage.close()


@pytest.fixture
def play(databases: Databases) -> Iterator[Callable[[list[Act]], None]]:
    """Return what plays a script."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        theatre = Theatre(runner, databases)
        yield theatre.play
        theatre.close()


@pytest.mark.slow
@pytest.mark.timeout(max(300, 10 * EXAMPLES))
def test_tenants_live_as_their_model_does(play: Callable[[list[Act]], None]) -> None:
    @CHOICE
    @given(SCRIPT)
    def agrees(script: list[Act]) -> None:
        play(script)

    # A soak draws other examples each time; else they are always the same.
    (seed(1)(agrees) if settings().derandomize else agrees)()
