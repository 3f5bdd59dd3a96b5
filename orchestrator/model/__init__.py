"""Words that every layer shares; imports nothing else of ours.

What they are about:

    ids, states, errors   what tenants and runs are called, where they stand, what goes wrong
    clock                 time, passed in
    fit, text, values     plain values as structs; text from outside; values of users as JSON
    hosts, version        which machine a host is; which Insula this is

What crosses the API, shared by server and clients:

    api                   of tenants and runs; and of one subject each: adoption, archives, figures,
                          maintenance, migration, moves, secrets, tokens, usage
    progress, findings    how far a long verb is; what an examination finds
    bearer                what a token looks like
"""

from __future__ import annotations
