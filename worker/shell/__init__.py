"""The worker's I/O around its pure core: the conversation, the children, the system."""

import mrcore.rpc  # noqa: F401 - before gRPC is loaded, so that it logs nothing
