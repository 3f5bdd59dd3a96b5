"""The process: reads the configuration, builds everything, serves, reloads and drains.

Its life, in this order:

    main                      from the configuration to the last log line
    wiring, services          build the database and the supervisors; what the API asks for
    reload, declared, code    a changed configuration, what the audit says of it; changed modules
    signals, sd_notify,       what systemd and people tell the process and hear from it
    status_line
    event_loop, loop_watch,   the event loop: that no task ends it, who holds it up and since when
    attempts, garbage

What the API asks for, each module a service of `http.services`:

    platform, why             tenants and their runs; why a tenant runs or does not
    attention, pauses         which tenants an operator looks at first; what is paused
    tenants, names            which tenants there are, and who has which name
    decided                   what operators and verbs have decided of one: pure
    dead_letters, schedules   of one tenant
    lifecycle, moves,         verbs for a whole tenant
    archives, adoption,
    migration, maintenance,
    secrets
    statistics, overview,     what is told of tenants
    usage, pauses
    tokens, audit             who may use the API, and who did what

What verbs stand on: `holds` keeps a tenant quiet, `errands` connects, `copies` drops what is of a
tenant elsewhere, `retrial` has one in quarantine try again.

What goes on by itself:

    shards, timetable         the shards' control schemas, and wake rows of tenants that sleep
    activity, figures         when tenants were active, and their figures
    inactivity                archives tenants that nobody uses
    arrivals, renaming,       finish or clear up what a node began that died
    cache_remains, wiping,
    parts

And `doctor`, which needs no daemon.
"""

from __future__ import annotations
