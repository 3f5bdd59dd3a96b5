"""Who may write for a tenant."""

from __future__ import annotations

from uuid import UUID, uuid4

import msgspec

from orchestrator.model.ids import SCHEMA_PREFIX

MOVED = "IN409"
"""SQLSTATE of what the functions of the fence raise when a newer owner has the tenant."""

ENDED = "IN412"
"""SQLSTATE of completing a task whose transaction is not the one that was begun for it."""


class Fence(msgspec.Struct, frozen=True):
    """One ownership of one tenant; `seal` is known to the owner's process and the fence alone."""

    schema: str
    epoch: int
    node: str = ""
    seal: UUID = msgspec.field(default_factory=uuid4)

    @property
    def tenant(self) -> str:
        """The tenant's id."""
        return self.schema.removeprefix(SCHEMA_PREFIX)

    def __repr__(self) -> str:
        return f"Fence({self.schema!r}, epoch={self.epoch})"
