"""The configuration: what it may say, how it is read, and what changed between two of them."""
