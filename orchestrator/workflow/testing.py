"""What users import to test workflows; the kit itself stands above the engine that it drives.

This is the one module of the package that reaches up, and nothing but users' tests imports it.
"""

from __future__ import annotations

from orchestrator.engine.history import History
from orchestrator.engine.replay import Divergence, Replayed, replay, replay_sync
from orchestrator.testing.harness import Finished, Harness, run_sync, run_workflow
from orchestrator.workflow.context import TenantInfo

__all__ = [
    "Divergence",
    "Finished",
    "Harness",
    "History",
    "Replayed",
    "TenantInfo",
    "replay",
    "replay_sync",
    "run_sync",
    "run_workflow",
]
