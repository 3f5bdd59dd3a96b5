"""Sixteen airlines, sixteen tenants: each reports on its own flights of a month."""
