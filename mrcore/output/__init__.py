"""The output of a job: where it may be, the claim on it, its commit and its receipt."""
