"""The daemon's garbage collector leaves runs in flight alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from orchestrator.daemon.garbage import YOUNG_OBJECTS, search_seldom


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give this process its own settings back; what the session has frozen stays so."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def searches() -> int:
    """Return how often the collector has run."""
    return sum(generation["collections"] for generation in gc.get_stats())


def test_what_a_thousand_attempts_make_starts_no_search() -> None:
    search_seldom()
    before = searches()
    attempts: list[list[object]] = [[] for _ in range(14 * 1000)]
    assert searches() == before
    assert len(attempts) < YOUNG_OBJECTS


def test_garbage_in_cycles_is_found_in_the_end() -> None:
    search_seldom()
    before = searches()
    for _ in range(YOUNG_OBJECTS + 1):
        cycle: list[object] = []
        cycle.append(cycle)
    assert searches() > before
