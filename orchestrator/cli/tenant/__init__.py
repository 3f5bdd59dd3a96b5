"""The commands `insula tenant …`: a module for each, or for those that belong together."""

from __future__ import annotations
