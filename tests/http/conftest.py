"""Fixtures of the API's tests."""

from __future__ import annotations

from tests.http.serving import api, platform, portal, served, web

__all__ = ["api", "platform", "portal", "served", "web"]
