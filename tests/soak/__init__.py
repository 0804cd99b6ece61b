"""A soak: load and disasters for a long time, and daemons that must stay as they were."""
