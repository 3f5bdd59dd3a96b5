"""What users write: workflows, tasks, retry policies. Pure; no database, no event loop."""
