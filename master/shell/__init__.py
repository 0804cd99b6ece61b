"""The master's I/O around its pure core: journal, services, commits."""

import mrcore.rpc  # noqa: F401 - before gRPC is loaded, so that it logs nothing
