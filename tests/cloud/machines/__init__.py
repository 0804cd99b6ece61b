"""The machines of the test cloud: containers that boot a real systemd, on a network of their own.

    requirements   why this machine cannot hold such a cloud, in one sentence, or nothing
    image          the root file system, made once by mmdebstrap and kept
    network        a bridge in a namespace, and a namespace for each VM
    cgroups        what a container needs to limit its own services
    container      one VM: an overlay on the image, booted by systemd-nspawn
    nspawn         `Machines` of the test cloud's API, made of such containers
    site           all servers of the cloud in one process: python -m tests.cloud.machines
    cloud          that process from outside: entered through namespaces, gone when it is killed

Needs root, systemd-nspawn and mmdebstrap. Nothing in it can reach the outside.
"""
