"""Work on whole tenants: what exists before a run and stays after it."""
