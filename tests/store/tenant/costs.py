"""What a statement reads, counted by PostgreSQL itself: the same on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from orchestrator.store import sql
from orchestrator.store.connect import Connection
from tests.store.tenant.acme import SCHEMA


@dataclass(frozen=True)
class Cost:
    """How many rows a statement read, of runs and of all tables, and pages of any table."""

    runs: int
    rows: int
    pages: int


async def cost(connection: Connection, query: str, *args: object) -> Cost:
    """Run a statement with the plan that the connection has for it, take it back, and tell."""
    given = f"({', '.join(map(_literal, args))})" if args else ""
    await connection.execute(f"PREPARE asked AS {sql.bind(query, SCHEMA)}")
    transaction = connection.transaction()
    await transaction.start()
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE asked{given}"
    text = await connection.fetchval(explain)
    await transaction.rollback()
    await connection.execute("DEALLOCATE asked")
    plan = msgspec.json.decode(text)[0]["Plan"]
    read = [(node["Relation Name"], _rows(node)) for node in _nodes(plan) if _scans(node)]
    return Cost(
        runs=round(sum(rows for table, rows in read if table == "wf_run")),
        rows=round(sum(rows for _, rows in read)),
        pages=plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _scans(node: dict[str, Any]) -> bool:
    return "Scan" in node["Node Type"] and "Relation Name" in node


def _rows(node: dict[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + removed) * node["Actual Loops"])


def _literal(value: object) -> str:
    """Return an argument as SQL without a type: the statement's parameter gives it one."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        elements = ",".join("NULL" if each is None else _quoted(each) for each in value)
        return f"'{{{elements}}}'"
    return f"'{value}'"


def _quoted(element: object) -> str:
    text = str(element).replace("\\", "\\\\").replace('"', '\\"').replace("'", "''")
    return f'"{text}"'
