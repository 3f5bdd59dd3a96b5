"""`python -m orchestrator` is the command `insula`."""

from __future__ import annotations

from orchestrator.cli.entry import run

if __name__ == "__main__":
    run()
