"""The proof: clusters on the cloud of containers, hurt in several ways, and their outputs.

    plugin    word count with a pause at every line, so that there is something to hurt
    books     what it reads, and what must come out
    wheels    the packages for the VMs, collected while there still is a way out
    cluster   what a person at a shell does with mrcore, gcloud and the cloud's own faults
    runs      `mrcore gce run`, at a terminal that somebody presses Ctrl-C at
    story     what all stories have in common
    stories   all of them; each is a module of its own
    rights    what code on the VMs may do with the bucket
    traces    what must not be left, in the cloud and on this machine

`scripts/cloudtest` runs it: python -m tests.cloud.proof.
"""
