"""Reads request bodies: JSON into structs, and every error with its path, not only the first."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from orchestrator.model.errors import InvalidRequest
from orchestrator.model.fit import fit

T = TypeVar("T", bound=msgspec.Struct)


def read(body: bytes) -> Any:
    """Return the JSON value of a body; InvalidRequest when it is not JSON.

    >>> read(b'{"workflow": "report"}')
    {'workflow': 'report'}
    """
    if not body.strip():
        raise InvalidRequest("the body is empty", hint="send a JSON object")
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None


def fit_optional(body: bytes, shape: type[T]) -> T:
    """Return a body that may be left out as a `shape`, which then has its defaults."""
    return fit(read(body) if body.strip() else {}, shape)
