"""The file that holds a whole tenant: what is in it, how it is written and how it is checked."""
