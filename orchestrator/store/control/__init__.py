"""The control schema `insula`: what the installation knows of its tenants and nodes.

A module for each table, beside its statements:

    tenants                    the registry; with aliases, versions and states
    configuration, schedules   what tenants are to be served as, and since when they have schedules
    nodes, leases, wake        which daemons live, who serves whom, who is to be woken when
    transitions, figures,      what is told of tenants
    usage, audit, pauses
    installation, keys         which key all nodes have, and under which keys tenants are sealed
    tokens                     who may use the API
    holds, renames             verbs under way
    shards, databases          the copies of this schema on shards, and databases of single tenants
    caches                     what tenants keep on a server of Redis's kind
"""

from __future__ import annotations
