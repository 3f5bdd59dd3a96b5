"""What an application does with its tenants' tables outside runs."""

from __future__ import annotations

from orchestrator.application.sql import TenantConnection, TenantSql, TenantTables

__all__ = ["TenantConnection", "TenantSql", "TenantTables"]
