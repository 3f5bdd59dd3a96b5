"""Fixtures of the clients' tests."""

from __future__ import annotations

from tests.http.serving import left_sockets, platform, portal, served

__all__ = ["left_sockets", "platform", "portal", "served"]
