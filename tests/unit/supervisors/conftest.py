"""What the tests of a root without a database share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.moves import lawful_moves
from tests.unit.supervisors.stage import Scripted


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the runners run scripts, and nobody look around so often that hours take long."""
    monkeypatch.setattr("supervisors.runner.TenantSupervisor", Scripted)
    monkeypatch.setattr("supervisors.fence.LOOK_SECONDS", 5.0)
    monkeypatch.setattr("supervisors.wake.FAILED_SECONDS", 5.0)
    with lawful_moves():
        yield
    if hasattr(Scripted, "stage"):
        del Scripted.stage
