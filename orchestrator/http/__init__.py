"""The HTTP API: the one way in for the command line, the clients and, over TCP, other programs."""

from __future__ import annotations
