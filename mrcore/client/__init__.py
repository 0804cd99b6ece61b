"""A cluster as a client sees it: requests, submission, and a job followed to its end."""

import mrcore.rpc  # noqa: F401 - before gRPC is loaded, so that it logs nothing
