"""The ways to run a job: on a cluster of this machine, in this process, on a remote cluster."""
