"""The Compute Engine API over machines that a test provides.

`gcloud` and google-cloud-compute drive it as they drive the real one. What runs behind an
instance is a `Machines` (`tests.cloud.compute.machines`): nothing at all, or containers.
"""
