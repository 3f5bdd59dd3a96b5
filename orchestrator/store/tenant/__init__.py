"""The engine's tables of one tenant: each module beside its statements."""
