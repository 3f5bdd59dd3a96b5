"""Every query is prepared as the engine's login, and its columns are those of its struct."""

from __future__ import annotations

import msgspec

from orchestrator.store import sql
from orchestrator.store.tenant.journal import Committed, Known
from orchestrator.store.tenant.runs import (
    Claimed,
    Entries,
    Listed,
    Moment,
    Orphan,
    Outside,
    RunEnd,
    Signal,
    Stored,
)
from orchestrator.store.tenant.secrets import READ as READ_SECRET
from orchestrator.store.tenant.secrets import Stored as Secret
from orchestrator.store.tenant.usage import HourUsed
from tests.store.tenant.acme import SCHEMA, Acme

COMMITTED = [name for name in Committed.__struct_fields__ if name != "admitted"]
RETURNS: dict[str, type[msgspec.Struct] | list[str]] = {
    "journal.take_over": ["clock_timestamp"],
    "journal.confirm": ["clock_timestamp"],
    "admission.admit": ["refused", "full_at", "held"],
    "journal.flush": COMMITTED,
    "journal.change": COMMITTED,
    "journal.log": COMMITTED,
    "journal.fire": ["fired"],
    "journal.known": Known,
    "runs.claim": Claimed,
    "runs.block": ["blocked"],
    "journal.hold": ["epoch"],
    "journal.hurry": ["set_config"],
    "journal.send": ["run_id", "signal_id"],
    "journal.take": [],
    "journal.nudge": [],
    "runs.claim_these": Claimed,
    "runs.peek": Claimed,
    "runs.outside": [n for n in Outside.__struct_fields__ if n != "blocked"],
    "runs.kinds": ["workflow", "version"],
    "runs.signals": Signal,
    "runs.ended": RunEnd,
    "runs.orphans": Orphan,
    "runs.pause": ["epoch"],
    "runs.unpause": ["epoch"],
    "runs.paused": ["workflow", "since", "reason"],
    "runs.accepted_lately": ["minute", "count"],
    "runs.entries": Entries,
    "runs.exists": ["exists"],
    "runs.page": Listed,
    "runs.read": Stored,
    "runs.history": Moment,
    "retention.delete": ["deleted"],
    "retention.delete_fires": ["epoch"],
    "retention.sweep": ["swept"],
    "secrets.read": Secret,
    "usage.fold": ["folded"],
    "usage.untold": HourUsed,
    "usage.mark": ["epoch"],
    "usage.read": HourUsed,
    "usage.accepted": ["max_runs_per_hour", "max_runs_per_day"],
    "usage.has_usage": ["exists"],
}
QUERIES = {
    f"{module}.{name}": query
    for module in ("admission", "journal", "runs", "retention", "usage")
    for name, query in sql.load(f"orchestrator.store.tenant.{module}").items()
} | {"secrets.read": READ_SECRET}


async def test_the_columns_of_each_query_are_the_fields_of_its_struct(acme: Acme) -> None:
    connection = await acme.connect()
    for name, returns in RETURNS.items():
        statement = await connection.prepare(sql.bind(QUERIES[name], SCHEMA))
        columns = [attribute.name for attribute in statement.get_attributes()]
        fields = returns if isinstance(returns, list) else list(returns.__struct_fields__)
        assert columns == fields, name


def test_the_table_above_has_every_query_and_no_other() -> None:
    assert sorted(RETURNS) == sorted(QUERIES)
