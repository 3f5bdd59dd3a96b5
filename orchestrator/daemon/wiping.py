"""Sees to it that a destroyed key is not in the table's file any more."""

from __future__ import annotations

import anyio
import structlog

from orchestrator.daemon.errands import Errands
from orchestrator.model.errors import InsulaError
from orchestrator.store.connect import DRIVER_ERRORS
from orchestrator.store.control import keys

RETRY_SECONDS = 30.0
"""How long after an attempt that left something the next one comes."""

LOCK_TIMEOUT = "1s"
"""How long it may be in the way of those who read keys, while it waits for others who do."""

log = structlog.get_logger(__name__)


class KeyWiping:
    """Rewrites the table of keys after an erasure, until nothing is left of the key.

    A node that dies before it has done so leaves it to the next that starts.
    """

    def __init__(self, errands: Errands) -> None:
        self._errands = errands
        self._left = anyio.Event()

    async def attempt(self) -> bool:
        """Rewrite the table; tell whether nothing is left. What is left is tried again later."""
        reason = "an older transaction can still see it"
        try:
            errand = self._errands.connection("erasure", lock_timeout=LOCK_TIMEOUT)
            async with errand as control:
                clean = await keys.wipe(control)
        except (InsulaError, *DRIVER_ERRORS) as error:
            clean, reason = False, str(error)
        if not clean:
            log.warning("tenant.key_not_wiped", reason=reason)
            self._left.set()
        return clean

    async def run(self) -> None:
        """Try again what was left, by a verb of ours or by who has died."""
        while True:
            self._left = anyio.Event()
            if await self.attempt():
                await self._left.wait()
            await anyio.sleep(RETRY_SECONDS)
