"""What runs mrcore on machines: the runner of `mrcore gce`, units, scripts and roles, as data."""
