"""Insula's own cases, each a process that the harness starts: `python -m benchmarks.cases A …`."""
