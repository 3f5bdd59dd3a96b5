"""Fixtures of the tests of web applications."""

from __future__ import annotations

import msgspec
import pytest

from orchestrator.model.ids import TenantId
from orchestrator.web import Header, PathSegment, TenantResolver
from tests.http.platform import HandMadePlatform
from tests.http.serving import Served, left_sockets, platform, portal, served

__all__ = ["left_sockets", "platform", "portal", "served"]

RESOLVER = TenantResolver([Header(), PathSegment("/t")], exempt=["/health"])


@pytest.fixture
def daemon(served: Served, platform: HandMadePlatform) -> Served:
    """Serve a daemon with one tenant more, which is disabled."""
    platform.add("dormouse")
    platform.views[TenantId("dormouse")] = msgspec.structs.replace(
        platform.views[TenantId("dormouse")], enabled=False
    )
    return served
