"""Clients of the daemon, and submission inside an application's own transaction.

What applications use:

    client, sync             `Client`, and its twin without an event loop: tenants, runs, schedules
    lifecycle, archives,     what hangs on a client for one subject, each for both twins
    secrets, tokens, usage
    transaction              `enqueue`, which needs no daemon

What both twins share:

    calls, call              every request of the API as a value, and what such a value is
    address, content         where a daemon answers, and the bodies that are sent there
    sending                  with which options, when again, and what the parts above send with
    stream, progress,        answers that come piece by piece: events, reports, files
    arriving
"""

from __future__ import annotations
