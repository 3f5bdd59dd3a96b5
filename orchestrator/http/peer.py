"""Who is at the other end of a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar.connection import ASGIConnection

from orchestrator.model.tokens import Holder

LOCAL = "uid "
"""Begins the address of who came over the control socket; no address of a network does."""

CUT_OFF = "cut_off"
"""Where a request keeps what ends its connection."""


def over_tcp(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Tell whether a request came over the network, if only this machine's.

    Whatever is not known to have come over the control socket did: `http.protocol` names its users.
    """
    return came_over_tcp(connection.client)


def came_over_tcp(client: Sequence[object] | None) -> bool:
    """Tell the same of the address that a connection has."""
    return client is None or not str(client[0]).startswith(LOCAL)


def holder_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Holder | None:
    """Return whose token the request had; None when it needed none."""
    found: Holder | None = connection.scope["state"].get("holder")
    return found


def cut_off(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """End a connection in the middle of its answer, so that nobody takes that for a whole one."""
    connection.scope["state"][CUT_OFF]()


def actor_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return who asks, as the audit has it: `uid 1000`, or `token 0f3a… tcp 127.0.0.1`."""
    client = connection.client
    if client is None:
        return "unknown"
    if not over_tcp(connection):
        return client.host
    holder = holder_of(connection)
    return (f"token {holder.token} " if holder else "") + f"tcp {client.host}"
