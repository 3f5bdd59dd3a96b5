"""Clients of the daemon, and submission inside an application's own transaction."""

from __future__ import annotations
