"""The control schema `insula`: what the installation knows of its tenants and nodes."""
