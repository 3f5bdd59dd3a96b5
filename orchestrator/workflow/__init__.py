"""What users write: workflows, tasks, retry policies. Pure; no database, no event loop.

    define, task         `Workflow`, its tasks, and `job`
    graph, rules         the order of tasks, and which outcomes let one start
    retry                when a task is tried again
    parameters           what a task takes from the input
    context              `ctx`, and of it: `durable` calls, the `cache`, a `secret`
    registry, named      the workflows that a process serves, and whether those named are there

`testing` is the kit for users' tests.
"""

from __future__ import annotations
