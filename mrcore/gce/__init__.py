"""The runner of `mrcore gce`: it drives gcloud, and makes, uses and removes clusters of VMs."""
