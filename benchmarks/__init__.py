"""Measurements; each program starts its own server, runs bounded, and prints one JSON document.

`python -m benchmarks` measures runs and steps, beside the peers with `--peers`:

    plan, schedule, cases    what is measured, when, and each case in a process of its own
    harness, protocol        starts the cases, and what it and they say to each other
    server, node, served     the PostgreSQL server, a node in a process, a whole daemon
    workloads, processes     the workflows, and what processes have used
    document, table          the result, and its form for people
    compare, targets         against the baseline and history, and what is to be reached
    report, page             into docs/explanation/performance.md

Programs of their own:

    tenants, life,           the whole life of 1,000 tenants, and how long their lists take
    life_table, listed
    supervision              10,000 tenants: declared, woken, reloaded, recovered
    engine, engine_cost,     what the engine costs, by counts
    engine_workloads
    cache                    what a call of a tenant's cache takes
"""

from __future__ import annotations
