"""The same figures in plain Python, without a database: what the workflow's are compared with."""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any


def by_carrier(path: Path) -> dict[str, dict[str, Any]]:
    """Return the summary of every airline in the file; the whole file is in memory meanwhile."""
    flights: dict[str, list[dict[str, str]]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            flights[row["carrier"]].append(row)
    return {carrier: _summary(rows) for carrier, rows in flights.items()}


def _summary(flights: Sequence[dict[str, str]]) -> dict[str, Any]:
    delays = [int(flight["dep_delay"]) for flight in flights if flight["dep_delay"] != "NA"]
    routes = Counter(f"{flight['origin']}-{flight['dest']}" for flight in flights)
    return {
        "flights": len(flights),
        "cancelled": len(flights) - len(delays),
        "mean_dep_delay": _mean(delays),
        "worst_delay": max(delays, default=None),
        "busiest_route": min(routes, key=lambda route: (-routes[route], route)),
    }


def _mean(delays: Sequence[int]) -> float | None:
    if not delays:
        return None
    mean = Decimal(sum(delays)) / len(delays)
    return float(mean.quantize(Decimal("0.0001"), ROUND_HALF_UP))
