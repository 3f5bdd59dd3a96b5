"""The command `insula`.

The first word of a command is its module here, or its package: `insula usage` is in `usage`,
`insula tenant move` in `tenant.move`; `main` has the table. Each of these modules has its options
on top, then `register`, the commands, and what prints their answers.

    serve, node, doctor, migrate, usage, replay, token   of the whole installation
    tenant, run, dead, schedule                          of one tenant

What the commands share:

    connect             how they find the daemon, and the options for that
    arguments, values   arguments that several have, and how values are read
    output, bar         what is printed, and how far a long command is
    confirm             asks before a tenant is destroyed
    exit                the exit code of each error
    entry, groups       where the process begins, and what a group of commands is
    reference           writes docs/reference/cli.md and errors.md
"""

from __future__ import annotations
