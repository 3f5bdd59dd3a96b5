"""Why a tenant runs or does not, in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orchestrator.engine.slots import NodeSlots
from orchestrator.model.api import TenantPause
from orchestrator.settings.tenants import TenantConfig
from orchestrator.store.control.tenants import TenantRow
from orchestrator.store.control.transitions import Outlook
from orchestrator.store.outage import Outage
from supervisors.slot import Slot, SlotState

_PLAIN = {
    SlotState.STARTING: "it takes its lease and what was left",
    SlotState.RUNNING: "it is awake",
    SlotState.DRAINING: "it lets go: its running tasks end and its lease is given back",
}


def told_of(pause: TenantPause) -> str:
    """Return what is paused, since when and why."""
    what = f"workflow {pause.workflow}" if pause.workflow else "it"
    because = f" ({pause.reason})" if pause.reason else ""
    return f"{what} is paused since {pause.since:%Y-%m-%d %H:%M:%S} UTC{because}"


def told_of_slots(slot: Slot, node: NodeSlots) -> str:
    """Return who holds the node's task slots when none is free; nothing of other tenants."""
    if slot.engine is None or node.free:
        return ""
    own = slot.engine.running_tasks
    return f"; all {node.total} task slots of the node are in use, {own} of them by this tenant"


def told_of_wait(since: datetime, holders: Sequence[str]) -> str:
    """Return since when what is to be written waits for what who has locked."""
    who = ", ".join(holders) or "another session"
    return f"; since {since:%Y-%m-%d %H:%M:%S} UTC it waits for what {who} has locked"


def explain(
    slot: Slot, row: TenantRow | None, outlook: Outlook, *, node: str, outage: Outage | None
) -> tuple[str, datetime | None]:
    """Return why the tenant is as it is on this node, and when that changes by itself.

    `row` is what the registry says of it, as far as that is known.
    """
    if slot.removed:
        return "no file declares it any more: it drains, and its data stay", None
    if slot.state in (SlotState.BACKOFF, SlotState.QUARANTINED):
        return _failed(slot, outage)
    if slot.state is SlotState.SUSPENDED:
        return _suspended(slot.config, row), None
    if outage is not None:
        return f"{outage.what} does not answer: {outage.error}", None
    return _well(slot, outlook, node)


def explain_absence(row: TenantRow, archived_by: str | None) -> str:
    """Return why nobody serves a tenant that is being deleted, or is archived, by which node."""
    since = f"since {row.removed_at:%Y-%m-%d %H:%M:%S} UTC" if row.removed_at else "by now"
    if row.state == "archived":
        node = "the node that wrote it" if archived_by is None else f"node {archived_by!r}"
        return (
            f"it is archived {since}: all of it is in the file {row.archive} on {node} "
            f"(insula tenant unarchive {row.id} brings it back there)"
        )
    return f"it is being {row.verb}d {since} ({row.again} goes on where that stopped)"


def _well(slot: Slot, outlook: Outlook, node: str) -> tuple[str, datetime | None]:
    if slot.waits_for_place:
        return "max_awake_tenants are awake and none of them can make room yet", None
    if slot.state in _PLAIN:
        return _PLAIN[slot.state], None
    elsewhere = outlook.served_by not in {None, node}
    because = f"node {outlook.served_by!r} serves it" if elsewhere else "it has nothing to do now"
    return because, outlook.wake_at


def _suspended(config: TenantConfig, row: TenantRow | None) -> str:
    if config.enabled:
        since = f" since {row.held_at:%Y-%m-%d %H:%M:%S} UTC" if row and row.held_at else ""
        return f"it is held for {config.held_for}{since}, and goes on by itself after that"
    if config.disabled_by_its_file:
        return "it is disabled by its file: set enabled = true there and reload"
    since = f" since {row.disabled_at:%Y-%m-%d %H:%M:%S} UTC" if row and row.disabled_at else ""
    reason = f": {config.disabled_because}" if config.disabled_because else ""
    return (
        f"it is disabled{since}{reason} (insula tenant audit {config.id} tells by whom, "
        f"insula tenant enable {config.id} takes it back)"
    )


def _failed(slot: Slot, outage: Outage | None) -> tuple[str, datetime | None]:
    if slot.state is SlotState.QUARANTINED:
        at_once = f"insula tenant enable {slot.config.id} tries again at once"
        return f"it kept failing, or needs somebody: {slot.last_error} ({at_once})", slot.retry_at
    if outage is not None:
        return f"{outage.what} does not answer: {outage.error}", None
    return f"it failed and is tried again: {slot.last_error}", slot.retry_at
