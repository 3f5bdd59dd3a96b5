"""Runs sync tasks in worker processes, which can be killed and bounded."""
