"""Writes down what a request does to a tenant: before it is done, and what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from orchestrator.http.peer import actor_of
from orchestrator.http.services import Audit, Services
from orchestrator.model.errors import InsulaError
from orchestrator.model.text import one_line
from orchestrator.store.control.audit import Deed

DONE = "done"
FAILED = "failed"
"""The outcome of what broke in a way that has no code."""


@dataclass(frozen=True)
class Record:
    """The audit, for the one who sent this request."""

    audit: Audit
    actor: str

    @asynccontextmanager
    async def of(self, tenant: str, operation: str, subject: object = "") -> AsyncIterator[None]:
        """Note the operation that the block does, and its outcome.

        Nothing is done that can not be noted. Who is cancelled in the block does not know what
        came of it, and neither does the audit.
        """
        # What was sent may be anything, and is printed and stored, which takes no NUL.
        deed = Deed(one_line(tenant), self.actor, operation, one_line(str(subject)))
        number = await self.audit.asked(deed)
        try:
            yield
        except InsulaError as error:
            await self.audit.answered(number, error.code, one_line(str(error)))
            raise
        except Exception as error:
            await self.audit.answered(number, FAILED, type(error).__name__)
            raise
        await self.audit.answered(number, DONE, "")

    @asynccontextmanager
    async def refusal(
        self, tenant: str, operation: str, subject: object = ""
    ) -> AsyncIterator[None]:
        """Note an operation that ends in the block, which only takes what it needs to begin."""
        try:
            yield
        except Exception:
            async with self.of(tenant, operation, subject):
                raise


def record_of(
    services: NamedDependency[SkipValidation[Services]], request: Request[Any, Any, Any]
) -> Record:
    """Return the audit for the sender of a request: the dependency `record`."""
    return Record(services.audit, actor_of(request))


Recorded = NamedDependency[SkipValidation[Record]]
"""The parameter `record` of a route."""
