"""The workflows that a process serves, imported from the modules named in the configuration."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from orchestrator.model.errors import DefinitionError, WorkflowNotFound
from orchestrator.workflow.define import Workflow

_PLACE = re.compile(r".+\.py:\d+: ")


@dataclass(frozen=True, slots=True)
class Registry:
    """The workflows by name and version.

    The last declared version of a name is the one new runs get.
    """

    workflows: Mapping[tuple[str, str], Workflow] = field(default_factory=dict)
    latest: Mapping[str, Workflow] = field(default_factory=dict)

    @classmethod
    def of(cls, workflows: Iterable[Workflow]) -> Registry:
        """Check every workflow and index it; DefinitionError for two of one name and version."""
        indexed: dict[tuple[str, str], Workflow] = {}
        for workflow in workflows:
            workflow.check()
            key = (workflow.name, workflow.version)
            if indexed.setdefault(key, workflow) is not workflow:
                raise DefinitionError(
                    f"two workflows are called {workflow.name!r} version {workflow.version!r}"
                )
        return cls(indexed, {workflow.name: workflow for workflow in indexed.values()})

    def serving(self, name: str, version: str) -> Workflow | None:
        """Return what runs that version, '' meaning the latest; None when it is not served."""
        return self.workflows.get((name, version)) if version else self.latest.get(name)

    def served_to(self, tenant: str) -> list[tuple[str, str]]:
        """Return name and version of what a tenant may run: all but what is another's alone."""
        return [key for key, flow in self.workflows.items() if flow.tenant in {None, tenant}]

    def find(self, name: str) -> Workflow:
        """Return the workflow that new runs of `name` get; WorkflowNotFound names what there is."""
        try:
            return self.latest[name]
        except KeyError:
            served = ", ".join(sorted(self.latest)) or "none"
            raise WorkflowNotFound(
                f"no workflow {name!r} is served here",
                hint=f"served: {served}; modules are named under [workflows] in the configuration",
            ) from None


def load(modules: Iterable[str]) -> Registry:
    """Import each module and collect its workflows.

    A module is `package.module`, or `package.module:name` for one workflow.
    Raises DefinitionError with the file and line where an import failed.
    """
    found: list[Workflow] = []
    for reference in modules:
        name, _, attribute = reference.partition(":")
        module = _import(name)
        if attribute:
            found.append(_member(module, attribute))
        else:
            found.extend(_members(module))
    return Registry.of(dict.fromkeys(found))


def _import(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise DefinitionError(
            f"{name!r} names no module", hint="write package.module, or package.module:workflow"
        )
    try:
        return importlib.import_module(name)
    except DefinitionError as error:
        raise _placed(error) from error
    except (Exception, SystemExit) as error:
        raise DefinitionError(
            f"module {name!r} can not be imported: {type(error).__name__}: {_told(error)}",
            hint=(
                "the module must be importable by the daemon's Python: install it beside Insula, "
                "or name its directory in PYTHONPATH"
            ),
        ) from error


def _placed(error: DefinitionError) -> DefinitionError:
    """Return the error with the place in the module that led to it, unless it names its task's."""
    places = [
        f"{frame.filename}:{frame.lineno}: "
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).parent != Path(__file__).parent and Path(frame.filename).is_file()
    ]
    if not places or _PLACE.match(str(error)):
        return error
    return DefinitionError(f"{places[-1]}{error}", hint=error.hint)


def _told(error: BaseException) -> str:
    """Return the message with the last place in a file, where there is one.

    A module that is not there fails in the import system itself, and that place helps nobody.
    """
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    places = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
    return f"{error} ({places[-1].filename}:{places[-1].lineno})" if places else str(error)


def _member(module: ModuleType, attribute: str) -> Workflow:
    value = getattr(module, attribute, None)
    if not isinstance(value, Workflow):
        raise DefinitionError(f"{module.__name__}:{attribute} is not a workflow")
    return value


def _members(module: ModuleType) -> list[Workflow]:
    found = [value for value in vars(module).values() if isinstance(value, Workflow)]
    if not found:
        raise DefinitionError(f"module {module.__name__!r} defines no workflow")
    return found
