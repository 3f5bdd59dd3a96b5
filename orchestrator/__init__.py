"""Insula: durable workflows for many tenants on one PostgreSQL. These are the names for users."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.client.client import Client, SyncClient
    from orchestrator.client.transaction import enqueue, insula_error
    from orchestrator.model.api import StartRun
    from orchestrator.model.errors import InsulaError
    from orchestrator.workflow.context import Context, TenantInfo
    from orchestrator.workflow.define import Workflow, job
    from orchestrator.workflow.retry import Fail, Retry
    from orchestrator.workflow.rules import If, When
else:
    # Found when they are used: who defines workflows loads no HTTP client, and a command neither.
    _HOMES = {
        "Client": "client.client",
        "Context": "workflow.context",
        "Fail": "workflow.retry",
        "If": "workflow.rules",
        "InsulaError": "model.errors",
        "Retry": "workflow.retry",
        "StartRun": "model.api",
        "SyncClient": "client.client",
        "TenantInfo": "workflow.context",
        "When": "workflow.rules",
        "Workflow": "workflow.define",
        "enqueue": "client.transaction",
        "insula_error": "client.transaction",
        "job": "workflow.define",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = found  # it is not asked for again
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Client",
    "Context",
    "Fail",
    "If",
    "InsulaError",
    "Retry",
    "StartRun",
    "SyncClient",
    "TenantInfo",
    "When",
    "Workflow",
    "enqueue",
    "insula_error",
    "job",
]
