"""How many examples there are: `make soak` asks for this profile."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("soak", max_examples=50_000, print_blob=True)
