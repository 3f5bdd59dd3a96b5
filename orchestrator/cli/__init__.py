"""The command `insula`."""

from __future__ import annotations
