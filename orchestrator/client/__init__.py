"""Clients of the daemon, and submission inside an application's own transaction.

client, sync                `Client` and its twin without an event loop: tenants, runs, schedules
lifecycle, archives,        what hangs on them for one subject, each for both clients
secrets, tokens, usage
calls, call                 every request of the API, and what a request is
address, content            where a daemon answers, and the bodies that are sent there
sending                     how the parts above send: `Client.send` and its like
stream, progress, arriving  answers that come piece by piece: events, reports, files
transaction                 `enqueue`, which needs no daemon
"""

from __future__ import annotations
