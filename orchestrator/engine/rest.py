"""Why a run in memory does not go on: a pause, its time, a wait. Whether it may leave meanwhile."""

from __future__ import annotations

from collections.abc import Set
from datetime import timedelta

from orchestrator.engine.execution import Execution
from orchestrator.model.clock import AnchoredClock
from orchestrator.model.states import RunState

RESIDENT_WAIT = timedelta(seconds=5)
"""A run that rests longer leaves memory and comes back from its journal."""


def is_paused(execution: Execution, paused: Set[str]) -> bool:
    """Tell whether the run, its workflow or the tenant ('') is among the `paused`."""
    return execution.paused or bool(paused and starts_nothing(execution.workflow.name, paused))


def starts_nothing(workflow: str, paused: Set[str]) -> bool:
    """Tell whether the workflow or the tenant ('') is among the `paused`."""
    return bool(paused & {"", workflow})


def is_put_off(execution: Execution, paused: Set[str], clock: AnchoredClock) -> bool:
    """Tell whether a pause, or its time, lets the run start nothing though somebody has asked."""
    # As `is_paused`, without the call: this is asked at each start.
    if execution.paused or (paused and starts_nothing(execution.workflow.name, paused)):
        return True
    # The clock is asked for the few runs that have a time: it costs as much as all else here.
    begins_at = None if execution.begins_at is None else execution.not_before
    return begins_at is not None and begins_at > clock.now()


def is_held_up(execution: Execution, paused: Set[str], clock: AnchoredClock) -> bool:
    """Tell whether a pause, or its time, lets nothing of the run go on."""
    return is_put_off(execution, paused, clock) and not execution.at_work


def rests_long(execution: Execution, clock: AnchoredClock) -> bool:
    """Tell whether nothing of the run goes on for so long that it need not be in memory."""
    if execution.state is not RunState.WAITING or not execution.resting:
        return False
    due = execution.next_due
    return due is None or due - clock.now() > RESIDENT_WAIT
