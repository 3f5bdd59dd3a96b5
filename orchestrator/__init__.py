"""Insula: durable workflows for many tenants on one PostgreSQL. These are the names for users."""

from __future__ import annotations

from orchestrator.client.client import Client, SyncClient
from orchestrator.client.transaction import enqueue
from orchestrator.model.errors import InsulaError
from orchestrator.workflow.context import Context
from orchestrator.workflow.define import Workflow, job
from orchestrator.workflow.retry import Fail, Retry
from orchestrator.workflow.rules import If, When

__all__ = [
    "Client",
    "Context",
    "Fail",
    "If",
    "InsulaError",
    "Retry",
    "SyncClient",
    "When",
    "Workflow",
    "enqueue",
    "job",
]
