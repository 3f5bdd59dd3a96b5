"""How many runs a tenant may hold in memory: a share of its own, and what the node can spare."""

from __future__ import annotations

from uuid import UUID

RESIDENT_RUNS = 1_000
"""How many runs each tenant may hold, whatever the others do."""

LOT = RESIDENT_RUNS // 2
"""How many runs have to find room before others are fetched from the table for it."""

RUN_BYTES = 8_192
"""What a run under way takes beside its input, rounded up from what was measured."""

SPARE_BYTES = 128 * 1024 * 1024


class NodeMemory:
    """What all tenants of a node may take beyond their own shares, in bytes."""

    def __init__(self, spare: int = SPARE_BYTES) -> None:
        self.spare = spare


class Residence:
    """Counts the runs that one tenant holds.

    A run takes a place of the tenant's own while there is one, else memory that the node can
    spare. Nobody is turned out: what has to come in although there is no room, as a run that
    somebody asks for, makes the room negative until others have left.
    """

    def __init__(self, node: NodeMemory) -> None:
        self._node = node
        self._own = 0
        self._spared: dict[UUID, int] = {}

    @property
    def room(self) -> int:
        """How many runs may still come in."""
        return max(0, RESIDENT_RUNS - self._own) + max(0, self._node.spare // RUN_BYTES)

    @property
    def has_room_for_a_lot(self) -> bool:
        """Whether it is worth fetching runs from the table."""
        return self.room >= LOT

    def enter(self, run: UUID, *, input_bytes: int) -> None:
        """Count a run that came into memory."""
        if self._own < RESIDENT_RUNS:
            self._own += 1
            return
        self._spared[run] = RUN_BYTES + input_bytes
        self._node.spare -= self._spared[run]

    def leave(self, run: UUID) -> None:
        """Give back what the run took."""
        taken = self._spared.pop(run, None)
        if taken is None:
            self._own -= 1
        else:
            self._node.spare += taken

    def close(self) -> None:
        """Give everything back: the tenant holds nothing any more."""
        self._own = 0
        self._node.spare += sum(self._spared.values())
        self._spared.clear()
