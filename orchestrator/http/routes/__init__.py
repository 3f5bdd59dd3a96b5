"""The routes, one file a resource.

Each has its parameters on top, then the routes, and `ROUTES`, which `http.app` puts together. A
route resolves the tenant, fits the body, and leaves the work to a service, a verb's in the record.

    tenants, lifecycle, moves, archives,   a tenant and the verbs for it
    exports, adoption, maintenance,
    secrets, credentials
    runs, control, events, dead,           its runs, and what starts them
    schedules
    statistics, usage, audit               what is told of it
    tokens                                 who may use the API
    migration, node, health                all tenants, and the node
"""

from __future__ import annotations
