"""The commands of `mrcore gce`, a module each: they return the exit code."""
