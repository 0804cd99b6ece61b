"""The whole proof: a cluster on the cloud of containers, hurt in several ways, and its output.

    plugin    word count with a pause at every line, so that there is something to hurt
    wheels    the packages for the VMs, collected while there still is a way out
    cluster   what a person at a shell does with mrcore, gcloud and the cloud's own faults
    story     the proof, stage by stage
    rights    what code on the VMs may do with the bucket
    traces    what must not be left, in the cloud and on this machine

`scripts/cloudtest` runs it: python -m tests.cloud.proof.
"""
