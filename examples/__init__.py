"""Examples: applications of Insula to read, run and copy."""
