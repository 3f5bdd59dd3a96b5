"""The process: reads the configuration, builds everything, serves, reloads and drains."""
