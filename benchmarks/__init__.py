"""Measurements; each module starts its own server, runs bounded, and prints one JSON document."""
