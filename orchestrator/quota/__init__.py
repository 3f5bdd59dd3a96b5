"""May this tenant do more? Pure."""
