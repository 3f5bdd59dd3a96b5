"""Runs workflows: decides in pure functions, commits in groups, starts what a commit allowed."""
