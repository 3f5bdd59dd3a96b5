"""Whether the schedules of a configuration fit the workflows that are served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.settings.decode import suggest
from orchestrator.settings.load import Scheduled
from orchestrator.workflow.registry import Registry


def unfit(scheduled: Iterable[Scheduled], registry: Registry) -> Iterator[str]:
    """Yield, as `file:line: sentence`, the schedules whose runs would be refused."""
    for each in scheduled:
        workflow = registry.latest.get(each.workflow)
        if workflow is None:
            hint = suggest(each.workflow, registry.latest, what="served")
            sentence = f"no workflow {each.workflow!r} is served{hint}"
            yield f"{each.place}: {each.path}.workflow: {sentence}"
            continue
        for problem in workflow.input_problems(each.input):
            yield f"{each.place}: {each.path}.input: {problem}"
