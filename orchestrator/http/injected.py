"""How a route asks for the services."""

from __future__ import annotations

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from orchestrator.http.services import Services

Injected = NamedDependency[SkipValidation[Services]]
"""The parameter `services` of a route; it is what `build_app` was given."""
