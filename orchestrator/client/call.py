"""One request of the API as a value, and what its answer means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar
from urllib.parse import quote

import msgspec

from orchestrator.model.api import Problem
from orchestrator.model.archives import ARCHIVE
from orchestrator.model.errors import InsulaError, InvalidRequest, revive
from orchestrator.model.progress import NDJSON, Report
from orchestrator.model.text import line_problem

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `repeatable`: sent twice it does what it does sent once.

    `wait` is how long the server may take on purpose, `patience` how long nobody may answer at all;
    `within` is for an answer that comes at once or never, however long the client would wait.
    """

    method: str
    path: str
    answer: type[T]
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    wait: float = 0.0
    patience: float = 0.0
    within: float = math.inf

    def decode(self, status: int, content: bytes) -> T:
        """Return the answer; raises the error of ours that the server sent."""
        if not 200 <= status < 300:
            raise refusal(status, content)
        return self.understand(content, self.answer)

    def understand(self, content: bytes | msgspec.Raw, shape: type[S]) -> S:
        """Return what a part of the answer says; InsulaError when it is not of `shape`."""
        try:
            return msgspec.json.decode(content, type=shape)
        except msgspec.DecodeError as error:
            raise InsulaError(
                f"the answer of {self.method} {self.path} can not be understood: {error}",
                hint="client and daemon should be of one version",
            ) from error

    @property
    def told(self) -> Call[T]:
        """The same call, which asks how far it is as well."""
        return replace(self, headers={**self.headers, "Accept": NDJSON})


@dataclass(frozen=True)
class Upload:
    """A file as the body of a request; `report` hears how much of it has been sent.

    One that is open already is read from its beginning, and stays open.
    """

    source: Path | BinaryIO
    report: Report | None = None
    media: str = ARCHIVE


def refusal(status: int, content: bytes | msgspec.Raw) -> InsulaError:
    """Return the error that an answer without success stands for."""
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        return InsulaError(
            f"the answer has status {status} and is not one of Insula's",
            hint="does something else answer at this address?",
        )
    return revive(problem.code, problem.detail, problem.hint, problem.data)


def tenant_path(tenant: str, *rest: str) -> str:
    """Return the path of what belongs to a tenant; InvalidRequest for what none can be called."""
    parts = (tenant, *rest)
    for part in parts:
        # No escape helps against these: whoever reads the path drops them, and so would the client.
        if part in {"", ".", ".."} or "/" in part or line_problem(part):
            raise InvalidRequest(f"{part!r} can not be an id or name", hint="nothing was sent")
    return "/".join(["/v1/tenants", *(quote(part, safe="") for part in parts)])


def header_value(what: str, text: str) -> str:
    """Return `text` if a header can carry it; InvalidRequest, without the text, when not."""
    if not text or not text.isascii() or not text.isprintable():
        raise InvalidRequest(f"{what} is not printable ASCII text", hint="nothing was sent")
    return text
