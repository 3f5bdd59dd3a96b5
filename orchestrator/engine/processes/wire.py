"""What the daemon and its worker processes say to each other: JSON, each message after its length.

Never pickle: a worker runs user code, and what it sends is only data here.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from orchestrator.model.api import Failure
from orchestrator.workflow.context import Current, TenantInfo

REPLY_BYTES = 64 * 1024 * 1024
"""The longest message a worker may send; the daemon holds it in memory once."""

HEADER = struct.Struct(">I")
_ENCODER = msgspec.json.Encoder()


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to a worker: how it is to run."""

    memory_bytes: int | None
    log_level: str
    log_format: str


class ProcessCall(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt sees: the arguments of its context. Raw is JSON that nobody decoded yet."""

    input: msgspec.Raw
    values: dict[str, Any] = {}
    outputs: dict[str, msgspec.Raw] = {}
    tenant: TenantInfo = TenantInfo()
    current: Current = Current()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to run: where its function stands, and what it sees."""

    module: str
    qualname: str
    call: ProcessCall


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The function was found and is called now: from here on the attempt's time counts."""


class AskSecret(msgspec.Struct, frozen=True, tag="secret"):
    """The function asks for a secret; it is answered with a Told before anything else is said."""

    name: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The secret, or the error that the question came to."""

    value: str = ""
    error: Refused | None = None


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An error of ours, as it crosses a process."""

    code: str
    sentence: str
    hint: str
    data: dict[str, Any]


class Returned(msgspec.Struct, frozen=True, kw_only=True, tag="returned"):
    """The function returned; both values are JSON, ready to be stored."""

    output: msgspec.Raw
    values: msgspec.Raw


class Raised(msgspec.Struct, frozen=True, kw_only=True, tag="raised"):
    """The function raised; `kinds` names the exception's class and its bases.

    Names, because the policy that says which classes are retried is the daemon's. `spoiled` when
    the worker should not run anything more.
    """

    error: Failure
    kinds: list[str]
    spoiled: bool = False


Reply = Started | AskSecret | Returned | Raised
_REPLIES: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def frame(message: msgspec.Struct) -> bytes:
    r"""Return the message as it goes over a pipe.

    >>> frame(Started())
    b'\x00\x00\x00\x12{"type":"started"}'
    """
    payload = _ENCODER.encode(message)
    return HEADER.pack(len(payload)) + payload


def decode_reply(payload: bytes) -> Reply:
    """Return what a worker said; msgspec.DecodeError when that is no reply."""
    return _REPLIES.decode(payload)


def kind(exception: type[BaseException]) -> str:
    """Return the name under which an exception's class is known on both sides."""
    return f"{exception.__module__}.{exception.__qualname__}"
