"""The kit for users' tests: the real engine over a table in memory and a clock moved by hand.

Users import it as `orchestrator.workflow.testing`.
"""
