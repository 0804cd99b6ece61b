"""Cost of jobs on Google Cloud: before, during and after a run."""
