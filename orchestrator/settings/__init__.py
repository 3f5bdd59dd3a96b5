"""The configuration: what it may say, how it is read, and what changed between two of them.

What the file may say, as types with their defaults and bounds:

    model                    all of it, and the sections that have no module of their own
    alerts, archive, cache,  a section each
    database, http
    section, keys, duration  what sections are made of

How it is read:

    load                     the way from files to a `Snapshot`, or to all that is wrong with them
    files, lines, decode     files with the places of all keys, and tables decoded key by key
    check, database_url      what keys say against each other; what may be wrong with a URL: pure
    directories              where the daemon keeps its files
    lenient                  where the socket is, in a configuration that is broken

What it means:

    tenants                  a tenant with its tier's defaults, and tenants made at run time
    schedules, schedule,     what is declared, when it fires, and cron expressions: pure
    cron
    shards                   further databases
    diff                     what a reload changes, and what that needs: pure

`reference` writes docs/reference/configuration.md.
"""

from __future__ import annotations
