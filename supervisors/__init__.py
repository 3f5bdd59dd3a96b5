"""One root supervisor, one supervisor for each awake tenant.

Read in this order:

    slot         what the root keeps of a tenant at all times, and its states
    decide       what follows when a supervisor has ended: a pure function
    tenant       one supervisor's life: take over, serve, let go
    guard        the boundary around it, through which no way of dying passes
    runner       one life after the other until the tenant is at rest
    root         which tenants there are; wakes, asks, hands over and drains them

What these use, each to be read alone:

    messages, refusals      what a supervisor is asked, and why a tenant takes nothing
    places, active          who may be awake, and which slots need a look
    starts, patience        who may begin, a few at a time; how long a caller waits for that
    wake, history, drain    the wake index, the record of states, the end of a node
    books, sick             what a tenant used and comes near to; who is in quarantine
    preference, elsewhere   which node is best for a tenant, and runs that reach another
    breaker                 one probe at a time while the server has no connection left
    keeper, naming          the node's row and name in the database, from a thread of its own
    standing, fence         what the node may believe of itself, and the cut when that ends
    ground                  what all of them stand on
"""
