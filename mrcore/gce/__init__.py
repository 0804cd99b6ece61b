"""What the runner of `mrcore gce` does in Python: records, wheels, checks. The rest is bash."""
