"""Why a tenant runs or does not, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from orchestrator.model.api import TenantPause
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.control.transitions import Outlook
from supervisors.slot import Slot, SlotState
from supervisors.standing import Outage


def _disabled(config: TenantConfig) -> str:
    if config.disabled_because is None:
        return "it is disabled: set enabled = true and reload"
    said = f" ({config.disabled_because})" if config.disabled_because else ""
    return f"an operator disabled it{said}: insula tenant enable {config.id}"


_PLAIN: Mapping[SlotState, Callable[[TenantConfig], str]] = {
    SlotState.SUSPENDED: _disabled,
    SlotState.STARTING: lambda _: "it takes its lease and what was left",
    SlotState.RUNNING: lambda _: "it is awake",
    SlotState.DRAINING: lambda _: "it lets go: its running tasks end and its lease is given back",
}
_CROWDED = "max_awake_tenants are awake and none of them can make room yet"


def told_of(pause: TenantPause) -> str:
    """Return what is paused, since when and why."""
    what = f"workflow {pause.workflow}" if pause.workflow else "it"
    because = f" ({pause.reason})" if pause.reason else ""
    return f"{what} is paused since {pause.since:%Y-%m-%d %H:%M:%S} UTC{because}"


def explain(
    slot: Slot, outlook: Outlook, *, node: str, outage: Outage | None
) -> tuple[str, datetime | None]:
    """Return why the tenant is as it is on this node, and when that changes by itself."""
    if slot.removed:
        return "no file declares it any more: it drains, and its data stay", None
    if slot.state in (SlotState.BACKOFF, SlotState.QUARANTINED):
        return _failed(slot, outage)
    if slot.waits_for_place:
        return _CROWDED, None
    if slot.state in _PLAIN:
        return _PLAIN[slot.state](slot.config), None
    if outlook.served_by not in {None, node}:
        return f"node {outlook.served_by!r} serves it", outlook.wake_at
    return "it has nothing to do now", outlook.wake_at


def _failed(slot: Slot, outage: Outage | None) -> tuple[str, datetime | None]:
    if slot.state is SlotState.QUARANTINED:
        return f"it kept failing, or needs somebody: {slot.last_error}", slot.retry_at
    if outage is not None:
        return f"the database does not answer: {outage.error}", None
    return f"it failed and is tried again: {slot.last_error}", slot.retry_at
