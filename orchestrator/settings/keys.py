"""What keys of the configuration are described with: their texts, bounds and what a reload does."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from orchestrator.model.text import LINE

Reload: TypeAlias = Literal["live", "lifecycle", "daemon", "immutable"]
"""What a changed key needs: nothing, a step in the tenant's life, a restart of the daemon, or a new
installation."""

RELOADS: dict[Reload, str] = {
    "live": "applies at once",
    "lifecycle": "starts, drains or stops the tenant",
    "daemon": "needs a restart of the daemon",
    "immutable": "can not change once there are tenants",
}


def about(description: str, reload: Reload, **more: Any) -> Meta:
    """Describe a key: what it is for, and what a reload does when it changed."""
    return Meta(description=description, extra={"reload": reload, **more})


Count: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Size: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1, extra={"size": True})]
"""Bytes; the file may give them a unit."""

END = r"(?!\n)$"
"""The end of a text: a bare $ would let a last line break pass."""


def shaped(pattern: str, says: str) -> Meta:
    """Describe a text by a pattern, and by the words that say what it asks for."""
    return Meta(pattern=pattern + END, extra={"says": says})


Name: TypeAlias = Annotated[
    str,
    shaped(
        r"^[^\s\x00-\x1f\x7f-\x9f]{1,200}",
        "has 1 to 200 characters, without spaces and control characters",
    ),
]
Text: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1, max_length=200, pattern=LINE, extra={"says": "may have no control characters"}
    ),
]
Module: TypeAlias = Annotated[
    str, shaped(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", "names a module such as app.reports")
]
