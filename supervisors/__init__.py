"""One root supervisor, one supervisor for each awake tenant.

Read `slot.py` (what the root keeps of a tenant), `decide.py` (what follows when a supervisor ends),
`tenant.py` (one supervisor's life) and `root.py` (who starts and stops them), in this order.
"""
