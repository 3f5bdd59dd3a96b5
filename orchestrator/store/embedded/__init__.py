"""A PostgreSQL server of our own under the state directory, for who configures none."""

from __future__ import annotations

from orchestrator.store.embedded.lock import StateLock
from orchestrator.store.embedded.server import START_SECONDS, EmbeddedPostgres
from orchestrator.store.embedded.tuning import Tuning

__all__ = ["START_SECONDS", "EmbeddedPostgres", "StateLock", "Tuning"]
