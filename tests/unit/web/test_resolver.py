"""Whether what a request names is one tenant that may be served; how long tenants are kept."""

from __future__ import annotations

import pytest

from orchestrator.model.api import TenantSummary
from orchestrator.model.errors import (
    DaemonUnreachable,
    TenantConflict,
    TenantNotFound,
    TenantNotNamed,
    TenantSuspended,
)
from orchestrator.web.directory import (
    FRESH_SECONDS,
    LOOK_AGAIN_SECONDS,
    STALE_SECONDS,
    Kept,
)
from orchestrator.web.resolver import Names, Tenant, TenantResolver, decide
from orchestrator.web.sources import Header, PathSegment, Seen


def tenant(id: str, *aliases: str, enabled: bool = True) -> TenantSummary:
    """Return a tenant of the list."""
    return TenantSummary(
        id=id, name=id.title(), tier=None, source="file", enabled=enabled, state="dormant",
        aliases=list(aliases),
    )  # fmt: skip


NAMES = Names([tenant("acme", "Acme-Corp"), tenant("globex", "acme"), tenant("off", enabled=False)])


def test_sources_that_lead_to_the_same_tenant_agree() -> None:
    found = decide({"header": "ACME-corp", "path": "acme"}, NAMES)
    assert found == Tenant(id="acme", name="Acme", named_by="header")


@pytest.mark.requirement("T11.conflict")
def test_sources_that_lead_to_different_tenants_are_refused_without_saying_whose() -> None:
    with pytest.raises(TenantConflict, match="different tenants in: header, path") as caught:
        decide({"header": "globex", "path": "acme"}, NAMES)
    assert "globex" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["nobody", "acme ", "", "x" * 10_000, "o\ufb00", "acme-corp\u0307"]
)
@pytest.mark.requirement("T11.unknown")
def test_a_name_that_nobody_has_is_not_found_whatever_another_source_says(name: str) -> None:
    with pytest.raises(TenantNotFound) as caught:
        decide({"header": "acme", "path": name}, NAMES)
    assert len(str(caught.value)) < 200


@pytest.mark.requirement("T11.disabled")
def test_a_disabled_tenant_is_refused() -> None:
    with pytest.raises(TenantSuspended):
        decide({"header": "off"}, NAMES)


def test_a_request_has_to_name_a_tenant() -> None:
    resolver = TenantResolver([Header(), PathSegment("/t")])
    with pytest.raises(TenantNotNamed) as caught:
        resolver.named(Seen("/", []))
    assert caught.value.hint == "it may stand in: header X-Tenant-ID, path below /t"
    with pytest.raises(ValueError, match="at least one source"):
        TenantResolver([])


def test_the_sources_are_asked_in_their_order() -> None:
    request = Seen("/t/acme", [("X-Tenant-ID", "globex")])
    forth = TenantResolver([Header(), PathSegment("/t")]).named(request)
    back = TenantResolver([PathSegment("/t"), Header()]).named(request)
    assert list(forth) == list(reversed(back))


@pytest.mark.parametrize(
    ("path", "exempt"),
    [("/health", True), ("/health/live", True), ("/healthy", False), ("/", False)],
)
def test_what_is_for_no_tenant_is_exempt(path: str, exempt: bool) -> None:
    assert TenantResolver([Header()], exempt=["health/"]).is_exempt(path) is exempt


class Watch:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_tenants_are_read_again_when_they_are_old_or_a_name_is_new() -> None:
    watch = Watch()
    kept = Kept(watch)
    assert kept.wants([])
    kept.read([tenant("acme")])
    assert not kept.wants(["acme", "nobody"])
    watch.now += LOOK_AGAIN_SECONDS
    assert kept.wants(["nobody"])
    assert not kept.wants(["acme"])
    watch.now += FRESH_SECONDS
    assert kept.wants(["acme"])


def test_made_up_names_ask_the_daemon_once_a_second_at_most() -> None:
    watch = Watch()
    kept = Kept(watch)
    reads = 0
    for number in range(1000):
        if kept.wants([f"made_up_{number}"]):
            kept.read([tenant("acme")])
            reads += 1
        watch.now += 0.01
    assert reads <= 1000 * 0.01 / LOOK_AGAIN_SECONDS + 1


def test_what_was_read_holds_for_a_while_when_the_daemon_is_silent() -> None:
    watch, error = Watch(), DaemonUnreachable("nobody answers")
    kept = Kept(watch)
    kept.failed(error)
    with pytest.raises(DaemonUnreachable):
        kept.names.get("acme")
    watch.now += LOOK_AGAIN_SECONDS
    kept.read([tenant("acme")])
    watch.now += STALE_SECONDS - 1
    kept.failed(error)
    assert kept.names.get("acme")
    assert not kept.wants(["acme"]), "it was tried just now"
    watch.now += 1
    with pytest.raises(DaemonUnreachable):
        kept.names.get("acme")
