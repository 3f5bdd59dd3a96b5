"""What an examination of an installation finds."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from orchestrator.model.api import Wire


class Severity(StrEnum):
    """How bad it is: an error breaks something now, a warning will, a notice may be meant so."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class Finding(Wire, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    `check` is its stable name, `subject` what it is about: the server, the control schema, a role
    or a tenant; `mend` says what to do.
    """

    severity: Severity
    check: str
    subject: str
    what: str
    mend: str = ""


class Diagnosis(Wire, frozen=True, kw_only=True):
    """All findings, the worst first, and how many tenants were looked at."""

    database: str
    server_version: str = ""
    tenants: int = 0
    findings: list[Finding] = msgspec.field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """True when nothing needs to be mended."""
        return all(each.severity is Severity.NOTICE for each in self.findings)


_ORDER = list(Severity)


def sorted_findings(findings: list[Finding]) -> list[Finding]:
    """Return the worst first, and of those by subject."""
    return sorted(findings, key=lambda each: (_ORDER.index(each.severity), each.subject))
