"""Fixtures of the API's tests."""

from __future__ import annotations

from tests.http.serving import api, platform, served, web

__all__ = ["api", "platform", "served", "web"]
