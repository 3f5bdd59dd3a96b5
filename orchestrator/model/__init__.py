"""Words that every layer shares; imports nothing else of ours."""
