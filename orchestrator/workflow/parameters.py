"""What a task takes from the run's input, by name, decoded to its annotation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from orchestrator.model.errors import DefinitionError

_BY_POSITION = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters after the context: the type of each, and which have no default."""

    types: Mapping[str, Any]
    required: frozenset[str]

    @classmethod
    def of(cls, function: Callable[..., Any], where: str) -> Parameters:
        """Read the signature.

        DefinitionError, naming `where`, for what can not be filled by name.
        """
        try:
            hints = get_type_hints(_annotated(function), include_extras=True)
        except Exception as error:
            raise DefinitionError(f"{where}: an annotation can not be resolved: {error}") from error
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind not in _BY_POSITION:
            raise DefinitionError(f"{where}: the first parameter is the context")
        for parameter in parameters[1:]:
            if parameter.kind not in _BY_NAME:
                raise DefinitionError(
                    f"{where}: parameter {parameter.name!r} can not be taken from the input by name"
                )
        types = {p.name: hints.get(p.name, Any) for p in parameters[1:]}
        for name, kind in types.items():
            try:
                msgspec.json.Decoder(kind)
                msgspec.json.schema(kind, schema_hook=_schema_of)
            except TypeError as error:
                raise DefinitionError(
                    f"{where}: parameter {name!r} is of no type that JSON has: {error}"
                ) from None
        return cls(
            types=types,
            required=frozenset(p.name for p in parameters[1:] if p.default is p.empty),
        )

    def problems(self, given: Mapping[str, Any]) -> list[str]:
        """Return one sentence, with its path, for each thing that does not fit."""
        found = [f"$.{name}: is required" for name in sorted(self.required - given.keys())]
        for name, kind in self.types.items():
            if name in given:
                try:
                    msgspec.convert(given[name], kind)
                except msgspec.ValidationError as error:
                    found.append(_with_path(name, str(error)))
                except BaseException as error:  # noqa: BLE001 - a type's own code, as __post_init__
                    found.append(f"$.{name}: its type raised {type(error).__name__}")
        return found

    def decode(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for one call; what is absent is left to its default."""
        if not self.types:
            return {}
        return {
            name: msgspec.convert(given[name], kind)
            for name, kind in self.types.items()
            if name in given
        }


def _schema_of(kind: type) -> dict[str, Any]:
    """Take `object` for anything; of any other class unknown to msgspec JSON has no value."""
    if kind is object:
        return {"title": "anything"}  # one without a key would count as none
    raise TypeError(f"{kind.__qualname__} is a class of its own: make it a dataclass, for example")


def _annotated(function: Any) -> Any:
    """Return what holds the annotations: of an object that can be called, its method."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _with_path(name: str, message: str) -> str:
    sentence, _, path = message.partition(" - at `$")
    return f"$.{name}{path.rstrip('`')}: {sentence}"
