"""Only the owner of a tenant deletes anything of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.model.errors import LeaseLost
from tests.store.tenant.acme import Acme, batch, changed, logged, new_run


async def test_a_former_owner_deletes_nothing(acme: Acme) -> None:
    old = new_run(epoch=1)
    connection, journal = await acme.take(1)
    ended = changed(old, state="failed", error="{}", finished=True)
    await journal.flush(connection, batch([old], [], [logged(old, fresh=True)]))
    await journal.flush(connection, batch([], [ended], []))
    later = await acme.value("SELECT clock_timestamp()") + timedelta(days=1)
    before = await acme.contents()

    zombie = acme.owned(2)
    await zombie.open()
    await acme.take(3)
    for act in (zombie.retention.delete(later, 10), zombie.retention.delete_fires(later)):
        with pytest.raises(LeaseLost):
            await act
    await zombie.close()

    assert await acme.contents() == before
