"""The states of runs and tasks."""

from __future__ import annotations

from orchestrator.model.states import RunState, TaskState


def test_a_run_is_finished_in_four_states() -> None:
    finished = {state for state in RunState if state.finished}

    assert finished == {"succeeded", "failed", "cancelled", "dead"}


def test_a_task_is_settled_in_four_states() -> None:
    settled = {state for state in TaskState if state.settled}

    assert settled == {"succeeded", "failed", "skipped", "cancelled"}
