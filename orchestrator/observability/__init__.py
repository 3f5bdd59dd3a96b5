"""What operators see of the daemon: its log."""
