"""Runs the code of today against a recorded history, to tell whether it goes the same way.

Only tasks that made durable calls are run, and of each only the code between the calls: every call
is answered from the history, and where the history ends, so does the replay. Nothing is recorded,
no step and no item of a map is executed, no signal, child or time is waited for, and there is no
`ctx.db`. A task without durable calls has nothing that could differ, so it is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import msgspec

from orchestrator.engine import entries
from orchestrator.engine.answers import Answers, NoDatabase, Why
from orchestrator.engine.entries import AnyEntry, AnyStepEntry, AnyTaskEntry
from orchestrator.engine.history import History
from orchestrator.engine.outcome import describe
from orchestrator.engine.progress import Place, TaskProgress
from orchestrator.model.api import EventView
from orchestrator.model.errors import InvalidRequest
from orchestrator.model.states import TaskState
from orchestrator.workflow.context import Context, Current, Database, TenantInfo
from orchestrator.workflow.define import AnyTask, Workflow
from orchestrator.workflow.registry import Registry

Source = History | Path | str | Iterable[EventView]


class Divergence(msgspec.Struct, frozen=True):
    """Where the code goes another way: at durable call `number` of `task`, counted from 0.

    Calls made side by side are counted by `branch`. Without a number it is the task as a whole, and
    without a task the DAG of the workflow.
    """

    task: str | None
    number: int | None
    expected: str
    found: str
    branch: int = 0

    def __str__(self) -> str:
        place = "the workflow" if self.task is None else f"task {self.task!r}"
        call = "" if self.number is None else f", durable call {self.number}"
        call += f" of branch {self.branch}" if self.branch else ""
        return f"{place}{call}: the history has {self.expected}, the code {self.found}"


class CheckedTask(msgspec.Struct, frozen=True):
    """How far a task was run: `answered` of its `recorded` durable calls, and why no further."""

    task: str
    recorded: int
    answered: int
    note: str = ""


class Replayed(msgspec.Struct, frozen=True):
    """What a replay found: the first divergence, if there is one, and the tasks that were run."""

    workflow: str
    version: str
    divergence: Divergence | None
    tasks: list[CheckedTask]

    @property
    def compatible(self) -> bool:
        """True when the code can continue the run, as far as its history tells."""
        return self.divergence is None


async def replay(
    history: Source,
    workflow: Workflow,
    *,
    input: Mapping[str, Any] | None = None,
    tenant: TenantInfo | None = None,
) -> Replayed:
    """Run `workflow` against a recorded history and tell where they part first.

    `history` is a file, its text, a list of events (`Harness.history`), or a `History`. `input` is
    what the run was started with; without it, it is the one of the exported run, or nothing.
    Raises InvalidRequest when the history can not be read, or a task needs an input that is not
    there.
    """
    recorded = History.read(history)
    past = Past(recorded.entries())
    given = input if input is not None else recorded.run.input if recorded.run else None
    replaying = _Replaying(workflow, past, recorded, given, tenant or TenantInfo())
    divergence = _changed_shape(workflow, past)
    checked: list[CheckedTask] = []
    for name in past.made_calls if divergence is None else ():
        found, divergence = await replaying.run(name)
        checked.append(found)
        if divergence is not None:
            break
    return Replayed(workflow.name, workflow.version, divergence, checked)


def replay_sync(
    history: Source,
    workflow: Workflow,
    *,
    input: Mapping[str, Any] | None = None,
    tenant: TenantInfo | None = None,
) -> Replayed:
    """Do the same as `replay` in a test that is not async."""
    return anyio.run(partial(replay, history, workflow, input=input, tenant=tenant))


def workflow_of(history: History, registry: Registry) -> Workflow:
    """Return the workflow that would continue the run.

    The run tells, if it was exported too: its version, or the latest when that one is gone. Else
    it is the only workflow there is, or the only one of the recorded shape. InvalidRequest when
    that does not tell.
    """
    run = history.run
    if run is not None:
        return registry.serving(run.workflow, run.version) or registry.find(run.workflow)
    workflows = list(registry.workflows.values())
    if len(workflows) > 1:
        shape = Past(history.entries()).shape
        workflows = [each for each in workflows if each.graph.shape == shape]
    if len(workflows) != 1:
        raise InvalidRequest(
            "it does not tell which workflow it is of",
            hint="put the output of `insula run show --json` before the events, "
            "or name one workflow: --module package.module:workflow",
        )
    return workflows[0]


class Past:
    """What a history says of each task: the fold of its entries, which keeps all durable calls."""

    def __init__(self, history: Sequence[AnyEntry]) -> None:
        self.shape: str | None = None
        self.tasks: dict[str, TaskProgress] = {}
        self._order: list[str] = []
        for entry in history:
            self._apply(entry)

    @property
    def made_calls(self) -> list[str]:
        """The tasks whose durable calls are known, in the order of the first."""
        return [name for name in self._order if self.of(name).steps]

    def of(self, task: str) -> TaskProgress:
        """Return what happened to a task."""
        return self.tasks.setdefault(task, TaskProgress())

    def _apply(self, entry: AnyEntry) -> None:
        match entry:
            case entries.RunStarted(shape=shape):
                self.shape = shape
            case entries.RunRetried(tasks=names):
                for name in names:
                    self.of(name).reset()
            case _ if isinstance(entry, AnyStepEntry):
                self.of(entry.task).apply(entry)
                if entry.task not in self._order:
                    self._order.append(entry.task)
            case _ if isinstance(entry, AnyTaskEntry):
                self._apply_to_task(entry)
            case _:
                pass

    def _apply_to_task(self, entry: AnyTaskEntry) -> None:
        task = self.of(entry.task)
        match entry:
            case entries.TaskStarted(attempt=attempt):
                task.state, task.attempt = TaskState.RUNNING, attempt
            case entries.TaskSucceeded(output=output, values=values):
                task.state, task.output, task.values = TaskState.SUCCEEDED, output, values
            case entries.TaskRetrying():
                task.state = TaskState.RETRYING
            case entries.TaskFailed():
                task.state = TaskState.FAILED
            case _:
                task.state = TaskState.RUNNING


class _Replaying:
    """Runs tasks of one history."""

    def __init__(
        self,
        workflow: Workflow,
        past: Past,
        history: History,
        input: Mapping[str, Any] | None,
        tenant: TenantInfo,
    ) -> None:
        self._workflow = workflow
        self._past = past
        self._history = history
        self._input = input
        self._tenant = tenant

    async def run(self, name: str) -> tuple[CheckedTask, Divergence | None]:
        """Run one task and return how far it came and where it differs."""
        past = self._past.of(name)
        answers = Answers(past, self._history.events[-1].at)
        task = self._workflow.tasks[name]
        parameters = self._workflow.parameters[name]
        given = dict(self._input or {})
        problems = parameters.problems(given)
        if problems and self._input is None:
            raise InvalidRequest(
                f"task {name!r} needs the input of the run: {'; '.join(problems)}",
                hint="put the output of `insula run show --json` before the events, or give input",
            )
        if problems:
            found = f"does not take it: {'; '.join(problems)}"
            return _checked(name, answers), Divergence(name, None, "this input", found)
        ctx = self._context(name, given, answers)
        raised = await _call(task, ctx, parameters.decode(ctx.input), answers)
        verdict = self._judge(name, past, answers, raised)
        if isinstance(verdict, Divergence):
            return _checked(name, answers), verdict
        return _checked(name, answers, verdict), None

    def _context(self, name: str, given: dict[str, Any], answers: Answers) -> Context:
        ancestors = self._workflow.graph.ancestors[name]
        values = dict(given)
        for up in ancestors:
            values.update(msgspec.json.decode(self._past.of(up).values))
        run = self._history.run
        current = Current(task=name, attempt=max(1, self._past.of(name).attempt))
        if run is not None:
            current = msgspec.structs.replace(current, run_id=run.id)
        return Context(
            input=given,
            values=values,
            outputs={up: msgspec.json.decode(self._past.of(up).output) for up in ancestors},
            tenant=self._tenant,
            database=cast("Database", NoDatabase(answers)),
            current=current,
            durable=answers,
        )

    def _judge(
        self, name: str, past: TaskProgress, answers: Answers, raised: BaseException | None
    ) -> Divergence | str:
        """Return where the task differs, or else a note, which may be empty."""
        stop, done = answers.stop, past.state is TaskState.SUCCEEDED
        if stop is not None and stop.why == "differs":
            return _at(name, stop.place, stop.expected, stop.found)
        if stop is not None and done and stop.why in {"new", "waits"}:
            return _at(name, stop.place, _SUCCESS, stop.found)
        if stop is not None:
            return _NOTES[stop.why].format(stop.found)
        ended = "returns" if raised is None else f"raises {self._told(raised)}"
        failed_too = raised is not None and past.state in {TaskState.FAILED, TaskState.RETRYING}
        if answers.missed is not None and not failed_too:
            place, expected = answers.missed
            return _at(name, place, expected, ended)
        if raised is not None and done:
            return Divergence(name, None, _SUCCESS, ended)
        return "" if done else f"the code {ended}"

    def _told(self, error: BaseException) -> str:
        described = describe(error)
        unknown = "" if self._input is not None else " (the input of the run is not known)"
        return f"{described.type}: {described.message}{unknown}"


async def _call(
    task: AnyTask, ctx: Context, arguments: Mapping[str, Any], answers: Answers
) -> BaseException | None:
    """Run the function and return what it raised; the answers know whether they stopped it."""
    call = partial(task.function, ctx, **arguments)
    try:
        if task.is_async:
            await call()
        else:
            await anyio.to_thread.run_sync(call)
    except (KeyboardInterrupt, asyncio.CancelledError):
        if answers.stop is None:
            raise
    except BaseException as error:  # noqa: BLE001 - user code may raise anything; it is what was found
        return error
    return None


def _changed_shape(workflow: Workflow, past: Past) -> Divergence | None:
    if past.shape in {None, workflow.graph.shape}:
        return None
    ran = ", ".join(past.tasks) or "none"
    return Divergence(
        None,
        None,
        f"a DAG of shape {past.shape} (tasks that ran: {ran})",
        f"has one of shape {workflow.graph.shape} (tasks: {', '.join(workflow.graph.order)})",
    )


def _at(task: str, place: Place, expected: str, found: str) -> Divergence:
    branch, number = place
    return Divergence(task, number, expected, found, branch)


def _checked(name: str, answers: Answers, note: str = "") -> CheckedTask:
    return CheckedTask(name, answers.recorded, answers.answered, note)


_SUCCESS = "the task's success"
_NOTES: Mapping[Why, str] = {
    "new": "the history ends here; the code {}, which was not executed",
    "waits": "the history ends here; the code {}",
    "database": "not run any further: the code {}, which a replay does not have",
}
