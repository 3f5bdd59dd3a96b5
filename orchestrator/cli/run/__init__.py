"""The commands `insula run …`."""

from __future__ import annotations
