"""What can end an attempt besides an exception of the task's own; stored as the failure's type."""

from __future__ import annotations


class AttemptTimeout(Exception):
    """The attempt took longer than its task allows."""


class TaskExited(Exception):
    """The task called `sys.exit` or was cancelled by something other than the engine."""


class WorkerDied(Exception):
    """The worker process of the attempt could not start, was killed or ended before it answered."""


class OutputTooLarge(Exception):
    """What the task returned and set is more than a worker process may send."""


class CallInTransaction(Exception):
    """A transactional task made a durable call, which is stored whether or not it commits."""


class TransactionLeftOpen(Exception):
    """The task ended while SQL of its was under way, or a transaction open; that was undone."""
