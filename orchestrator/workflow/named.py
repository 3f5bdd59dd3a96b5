"""Whether the modules and workflows that a configuration names are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.model.errors import DefinitionError
from orchestrator.settings.decode import suggest
from orchestrator.settings.load import Named
from orchestrator.workflow import registry
from orchestrator.workflow.registry import Registry


def load_each(modules: Iterable[Named]) -> tuple[Registry | None, list[DefinitionError]]:
    """Import the modules, or return every reason why they can not be, with `file:line`."""
    named, problems = list(modules), []
    for each in named:
        # One by one, so that a broken module does not hide what is wrong with the next.
        try:
            registry.load([each.name])
        except DefinitionError as error:
            sentence = f"{each.place}: {each.path}: {error}"
            problems.append(DefinitionError(sentence, hint=error.hint))
    if problems:
        return None, problems
    try:
        return registry.load(each.name for each in named), []
    except DefinitionError as error:  # two modules that do not go together
        return None, [error]


def unfit(workflows: Iterable[Named], served: Registry) -> Iterator[str]:
    """Yield, as `file:line: sentence`, what is not served, and inputs that would be refused."""
    for each in workflows:
        workflow = served.latest.get(each.name)
        if workflow is None:
            hint = suggest(each.name, served.latest, what="served")
            yield f"{each.place}: {each.path}: no workflow {each.name!r} is served{hint}"
        elif each.input is not None:
            path = f"{each.path.removesuffix('.workflow')}.input"
            for problem in workflow.input_problems(each.input):
                yield f"{each.place}: {path}: {problem}"
