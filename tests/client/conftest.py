"""Fixtures of the clients' tests."""

from __future__ import annotations

from tests.http.serving import platform, served

__all__ = ["platform", "served"]
