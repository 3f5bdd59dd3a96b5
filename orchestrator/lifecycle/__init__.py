"""Work on whole tenants: what exists before a run and stays after it.

All of it is done over connections that are passed in; that the tenant is quiet meanwhile, and what
the registry says of it, is for `daemon` to see to.

    admission, keys         the installation key, and that all nodes have the same
    provision               its schema, its logins and their passwords, the engine's tables
    outside, failing        its migrations: one outside a transaction; the statement that fails
    ledgers                 what of them was applied to many
    adoption                makes a tenant of a schema that exists
    move, arrival           to another database: copied and compared, until it lives there
    transfer                into an archive or an export, and back
    rename                  another id
    maintenance             the care for its tables
    sealing                 whether what is sealed hangs on a key of its own
    usage                   what it used, before its schema goes
    removal, results        takes it away, and keeps its finished runs in a file
    doctor                  examines all of it
    files, holders          files that are whole or not there; what is said of tables not had
"""

from __future__ import annotations
