"""The engine's tables of one tenant: each module beside its statements.

What its supervisor writes, behind the fence:

    owned                    the one connection of a supervisor, and all that goes over it
    fence, fenced            who may write, and how each statement proves it
    journal, runs            the group commit, and taking runs into memory
    schedules, retention,    the other tables of the engine
    usage, dead
    secrets, sealing,        what is sealed: secrets, the keys, and payloads if wanted
    payloads
    submissions, admission   runs that come from outside the supervisor, and that fit the limits

What its tasks use, under the application's login:

    login, places            opens connections, and bounds how many
    database, session,       `ctx.db`: of an attempt, and of a transactional task
    whole, statements
    cache                    `ctx.cache`

And `statistics`, which reads all of it in a bounded time.
"""

from __future__ import annotations
