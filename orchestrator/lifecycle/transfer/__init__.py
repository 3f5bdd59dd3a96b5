"""Copies a whole tenant: out of one database into an archive, and from there into another."""
