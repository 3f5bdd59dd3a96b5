"""How many examples there are: `make model` and `make soak` ask for these profiles."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("model", settings.get_profile("ci"), max_examples=2_000)
settings.register_profile("soak", max_examples=50_000, print_blob=True)
