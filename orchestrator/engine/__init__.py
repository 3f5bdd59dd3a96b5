"""Runs workflows: decides in pure functions, commits in groups, starts what a commit allowed.

Read in this order:

    engine                   one tenant's engine: what it is asked, and its loops
    plan, rest, control      what a run does next, why it does not, what people do to it: pure
    execution, progress      a live run and its tasks: the fold of their entries
    entries                  what can happen to a run
    board, suspects          the runs in memory: what is ready, and what waits after a crash
    slots, turns             who may start on this node, and for how long it is his turn
    commit                   the group commit
    table                    claims runs from the tenant's tables, and delivers to them

An attempt at a task:

    attempts, attempt_group  what it sees, and where it runs
    execute, threads,        under its deadline; in a thread; in a process
    processes
    outcome, endings,        what it came to, and what is recorded of that
    failures
    durable, port            its durable calls

What these use:

    intake, submission       from a request to runs that are stored
    admission                counts them where others add runs, too
    schedules, timers        what fires, and when runs are to be looked at
    residence, retention     how many runs are in memory, and which are deleted
    meter                    counts what ends
    pulse, reply             wakes who waits; an answer that is owed

What is read of runs: `views`. Histories against the code of today: `replay`, `history`, `answers`.
"""

from __future__ import annotations
