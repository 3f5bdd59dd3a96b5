"""The same work through other libraries, each by its own documented means.

Every script stands alone: `python -m benchmarks.peers.on_dbos A --url … --home … --count 1000`, in
an environment that has the library, after the same with `--set-up`.
"""
