"""The HTTP API: the one way in for the command line, the clients and, over TCP, other programs.

The way of a request:

    serve, protocol, peer    the sockets, what a connection may hold, and who is at its other end
    app                      all of it together
    guard, access, refusals  what every request must satisfy, and who may what
    routes                   a module for each resource; `routes.runs` is the model of all
    injected, meant          how a route gets the services, and the tenant that its path means
    body, moments, wire      what is read of a request, and what is answered
    audit                    the record of a verb: before it is done, and what came of it
    progress, follow         answers that go on: a long verb's, and the events of a run
    errors, status           errors, and the HTTP status of each
    openapi                  what the routes say of themselves

`services` says what it needs of the daemon: nothing here knows a supervisor.
"""

from __future__ import annotations
