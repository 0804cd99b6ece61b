"""The metadata server of the test cloud: what a VM may ask about itself, over HTTP.

It knows its callers by their source address, as Google's does, and hands out tokens of the form
that the other servers of the test cloud take for the VM's service account.

    with MetadataServer("10.128.0.1", 80) as metadata:
        metadata.put(vm)                       # a tests.cloud.compute.machines.Vm
"""

from tests.cloud.metadata.server import MetadataServer

__all__ = ["MetadataServer"]
